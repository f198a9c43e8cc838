#include "orrery/config/dataset_kind.h"

#include <array>

namespace orrery::config {

namespace {

/// In the order of the enum.
constexpr std::array<std::string_view, 4> kNames = {"prompts", "completions", "preferences",
                                                    "labelled"};

}  // namespace

std::string_view name(DatasetKind kind) { return kNames[static_cast<size_t>(kind)]; }

std::vector<std::string> dataset_kind_names() { return {kNames.begin(), kNames.end()}; }

std::vector<std::string> dataset_kind_options() {
  std::vector<std::string> options = dataset_kind_names();
  options.emplace_back(kMessages);
  return options;
}

std::optional<DatasetKind> dataset_kind_named(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<DatasetKind>(i);
  }
  return std::nullopt;
}

}  // namespace orrery::config
