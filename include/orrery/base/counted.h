// Numbers of things in messages.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

#include "orrery/base/text.h"

namespace orrery::base {

/// `1 worker`, `2 workers`. `many` is the plural where it is not `one` with an s.
template <std::integral T>
std::string counted(T n, std::string_view one, std::string_view many = {}) {
  if (n == 1) return concat(n, " ", one);
  return many.empty() ? concat(n, " ", one, "s") : concat(n, " ", many);
}

}  // namespace orrery::base
