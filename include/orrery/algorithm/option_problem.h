// What is wrong (or looks wrong) with the options of a call beyond the range of each one: options
// that contradict one another, an input that an option needs, a program that does not exist. An
// options struct says so in a method `std::vector<OptionProblem> problems(const
// config::CallConfig&) const`.
#pragma once

#include <string>

namespace orrery::config {
struct CallConfig;
}

namespace orrery::algorithm {

struct OptionProblem {
  enum class Severity {
    kError,
    kWarning,  ///< it may be meant
  };
  std::string key;  ///< of the call's section
  std::string text;
  Severity severity = Severity::kError;
};

}  // namespace orrery::algorithm
