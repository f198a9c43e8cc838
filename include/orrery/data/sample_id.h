// The handle of a sample: what messages, the buffer and the storage tracker carry instead of a
// name. The data order gives out handles (data_order.h): ascending, never used twice in a run.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace orrery::data {

struct SampleId {
  uint64_t value = 0;

  auto operator<=>(const SampleId&) const = default;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(value);
  }
};

}  // namespace orrery::data

template <>
struct std::hash<orrery::data::SampleId> {
  // Handles are consecutive numbers; spread them, since tables take the lowest bits.
  std::size_t operator()(orrery::data::SampleId id) const noexcept {
    uint64_t x = id.value * 0x9e3779b97f4a7c15ULL;
    return static_cast<std::size_t>(x ^ (x >> 32));
  }
};
