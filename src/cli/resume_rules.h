// What changed configuration keys mean to a run that goes on from a checkpoint.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/config/schema.h"  // InterfaceSchemas

namespace orrery::cli {

/// Of a key such as `model.actor.lr` or `call.actor_train.clip_range`: what its field says.
///   options  of a call: those of its interface
config::Resume meaning_of_change(std::string_view key, const config::Schema& options = {});

/// Keys of two resolved configurations that differ, each as `key: was A, is B`.
struct ConfigChanges {
  std::vector<std::string> noted;     ///< training only goes on differently
  std::vector<std::string> accepted;  ///< named by --accept
  std::vector<std::string> refused;   ///< --accept with their keys would let them pass
  std::vector<std::string> never;
};

/// `accept`: keys that --accept names. A key that one of the two lacks has its default there: it
/// came with a newer version of the program. Throws ConfigError for a key in `accept` that can
/// never be accepted or that the experiment does not have; one that did not change does no harm.
ConfigChanges compare_configs(const std::string& before, const std::string& now,
                              const config::InterfaceSchemas& interfaces,
                              std::span<const std::string> accept = {});

/// Data sets for which the bounds of records (max_prompt_tokens, max_tokens, on_bad_record) differ:
/// they may have other rows than before.
std::vector<std::string> datasets_with_other_bounds(const std::string& before,
                                                    const std::string& now);

}  // namespace orrery::cli
