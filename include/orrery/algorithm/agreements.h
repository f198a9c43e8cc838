// Options that calls of one experiment must agree on: who takes a value from whom, and what the
// options of a call need of the call whose output it reads. Interfaces declare both beside their
// signatures (registry.h); this is what becomes of it. Rank 0, before anything starts.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "orrery/algorithm/option_problem.h"
#include "orrery/config/document.h"  // Problem
#include "orrery/config/experiment.h"

namespace orrery::algorithm {

/// An option that has the value that it has in another call: where it is not written it is taken
/// from there, where both are written and differ the experiment is refused.
struct Agreement {
  enum class With {
    kWriter,       ///< the call that writes `key`
    kOtherReaders  ///< the calls of the same agreement that read `key` too, whoever states it
  };
  std::string option;
  std::string key;  ///< an input, by the interface's name
  With with = With::kWriter;
  /// Options of the call, or of those that read its outputs, each of which makes two values
  /// meaningful: what was sampled with the one is corrected for. Then there is a warning only.
  std::vector<std::string> corrected_by = {};
  /// Two values may be meant: a warning only.
  bool may_differ = false;
};

/// The values of a call's options by name, in the form of config::value_text; empty: it has none.
using OptionTexts = std::function<std::string(const std::string& option)>;

/// What an option of the call, where it is on, needs of an option of the call that writes `key`.
struct Need {
  std::string option;
  std::string key;
  std::string option_there;
  /// Why the values do not fit, or nothing.
  std::function<std::optional<std::string>(const std::string& own, const std::string& there)>
      problem;
  OptionProblem::Severity severity = OptionProblem::Severity::kError;
};

/// The same where several options of one side matter together.
struct JointNeed {
  std::string key;
  std::function<std::optional<OptionProblem>(const OptionTexts& own, const OptionTexts& there)>
      problem;
};

/// Gives every call the options that it takes from others, and `evaluate.max_new_tokens` the length
/// of the generated answers where it is not written. Appends what contradicts to `problems`, what
/// may be meant to `warnings`.
void inherit_options(config::Experiment& experiment, std::vector<config::Problem>& problems,
                     std::vector<config::Problem>& warnings);

/// Every need of a call that is not met. After inherit_options.
void check_needs(const config::Experiment& experiment, std::vector<config::Problem>& problems,
                 std::vector<config::Problem>& warnings);

}  // namespace orrery::algorithm
