// The keys of a call that belong to its interface, by name, for code that does not know the
// interface.
#pragma once

#include <algorithm>
#include <string_view>

#include "orrery/config/experiment.h"

namespace orrery::config {

/// The option as it is written; null: it is not.
inline const Option* find_option(const CallConfig& call, std::string_view name) {
  const auto found = std::find_if(call.options.begin(), call.options.end(),
                                  [&](const Option& option) { return option.name == name; });
  return found == call.options.end() ? nullptr : &*found;
}

/// Its value, which the reader of the configuration has checked; `otherwise` where it is not
/// written.
template <class T>
T option_or(const CallConfig& call, std::string_view name, T otherwise) {
  if (const Option* const option = find_option(call, name)) read_value(option->value, otherwise);
  return otherwise;
}

}  // namespace orrery::config
