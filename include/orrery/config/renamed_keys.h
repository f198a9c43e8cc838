// Keys that the version before called something else. Their old names are read by this version,
// with a notice, and by no later one.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace orrery::config {

/// What an old value becomes under the new name.
enum class OldValue {
  kTheSame,
  kOneMinus,   ///< a number from 0 to 1 counted from the other end
  kAllOrNone,  ///< of `true` and `false`: all, 0
};

struct RenamedKey {
  std::string_view kind;  ///< first part of the section's name: `call`
  std::string_view old_name;
  std::string_view name;
  OldValue value = OldValue::kTheSame;
};

std::span<const RenamedKey> renamed_keys();

/// If `key` is an old name of the section, gives key and value as they are today and returns
/// true. A value that is no number stays as it is: reading it under the new name says so.
bool use_todays_name(std::string_view section, std::string& key, std::string& value);

}  // namespace orrery::config
