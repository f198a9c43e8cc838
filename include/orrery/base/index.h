// A signed number as an index of a container.
#pragma once

#include <concepts>
#include <cstddef>

namespace orrery::base {

/// Not negative; std::vector takes no other.
constexpr std::size_t index(std::signed_integral auto i) { return static_cast<std::size_t>(i); }

}  // namespace orrery::base
