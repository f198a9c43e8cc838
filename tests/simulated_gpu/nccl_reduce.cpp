#include "nccl_reduce.h"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace orrery::simulated_gpu {

namespace {

/// bf16, rounded to nearest, ties to even.
struct BFloat16 {
  uint16_t bits = 0;

  BFloat16() = default;
  BFloat16(float value) {  // NOLINT: as a number
    const auto wide = std::bit_cast<uint32_t>(value);
    const bool is_nan = (wide & 0x7FFFFFFF) > 0x7F800000;
    bits = is_nan ? uint16_t{0x7FC0}
                  : static_cast<uint16_t>((wide + 0x7FFF + ((wide >> 16) & 1)) >> 16);
  }
  operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }  // NOLINT
};

template <class Number>
void reduce_as(char* to, const char* from, std::size_t n, ncclRedOp_t op) {
  for (std::size_t i = 0; i < n; ++i) {
    Number a, b;
    std::memcpy(&a, to + i * sizeof a, sizeof a);
    std::memcpy(&b, from + i * sizeof b, sizeof b);
    if (op == ncclSum) {
      a = static_cast<Number>(a + b);
    } else if ((op == ncclMin) == (b < a)) {
      a = b;
    }
    std::memcpy(to + i * sizeof a, &a, sizeof a);
  }
}

}  // namespace

std::size_t size_of_element(ncclDataType_t type) {
  // int8, uint8, int32, uint32, int64, uint64, fp16, fp32, fp64, bf16
  constexpr std::array<std::size_t, 10> kSizes = {1, 1, 4, 0, 8, 0, 2, 4, 8, 2};
  return type < static_cast<int>(kSizes.size()) ? kSizes.at(type) : 0;
}

bool is_simulated(ncclRedOp_t op) { return op == ncclSum || op == ncclMin || op == ncclMax; }

void reduce(char* to, const char* from, std::size_t n, ncclDataType_t type, ncclRedOp_t op) {
  switch (type) {
    case ncclInt8:
      return reduce_as<int8_t>(to, from, n, op);
    case ncclUint8:
      return reduce_as<uint8_t>(to, from, n, op);
    case ncclInt32:
      return reduce_as<int32_t>(to, from, n, op);
    case ncclInt64:
      return reduce_as<int64_t>(to, from, n, op);
    case ncclFloat16:
      return reduce_as<_Float16>(to, from, n, op);
    case ncclBfloat16:
      return reduce_as<BFloat16>(to, from, n, op);
    case ncclFloat32:
      return reduce_as<float>(to, from, n, op);
    case ncclFloat64:
      return reduce_as<double>(to, from, n, op);
    default:
      throw std::logic_error("a reduction of a type that is not simulated");
  }
}

}  // namespace orrery::simulated_gpu
