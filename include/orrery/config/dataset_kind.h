// What records of a data set hold.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::config {

enum class DatasetKind : uint8_t {
  kPrompts,      // prompts and reference answers
  kCompletions,  // prompts with answers to learn
  kPreferences,  // prompts with a better and a worse answer
  kLabelled,     // prompts with an answer that is good or bad
};

/// As configurations have it: prompts, completions, preferences, labelled.
std::string_view name(DatasetKind kind);
std::vector<std::string> dataset_kind_names();
/// What `kind` may say beside the kinds: lists of messages, of the kind that the calls read.
inline constexpr std::string_view kMessages = "messages";
std::vector<std::string> dataset_kind_options();
/// None: no kind has that name.
std::optional<DatasetKind> dataset_kind_named(std::string_view name);

}  // namespace orrery::config
