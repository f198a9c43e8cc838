// What other systems call a key. A name that someone knows from there is no typing error, so no
// edit distance finds what is meant; here a table does.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "orrery/config/schema.h"

namespace orrery::config {

struct Synonym {
  std::string_view theirs;
  /// `model.X.lr`, or several with commas, or `nothing`; behind a semicolon what a name does not
  /// say.
  std::string_view ours;
};

std::span<const Synonym> synonyms();

/// A key that its section does not have.
struct UnknownKey {
  std::string_view section;  ///< `model.actor`
  std::string_view key;
  std::span<const std::string> known;  ///< keys that the section has
};

/// `; did you mean lr?`, or where the key is that is meant; empty for a name that no other system
/// has.
std::string synonym_advice(const UnknownKey& unknown, const InterfaceSchemas& interfaces);

/// The same for the first part of a section's name.
std::string section_synonym_advice(std::string_view section);

}  // namespace orrery::config
