// The end of a message about a name that is not known.
#pragma once

#include <string>
#include <vector>

#include "orrery/base/text.h"

namespace orrery::config {

/// `; did you mean X?` if one of the known names is nearly `name`, else nothing.
inline std::string did_you_mean(const std::string& name, const std::vector<std::string>& known) {
  const auto nearest = base::nearest(name, known);
  return nearest ? base::concat("; did you mean ", *nearest, "?") : std::string();
}

template <class T>
std::vector<std::string> names_of(const std::vector<std::pair<std::string, T>>& sections) {
  std::vector<std::string> names;
  for (const auto& section : sections) names.push_back(section.first);
  return names;
}

}  // namespace orrery::config
