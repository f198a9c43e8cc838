// bfloat16 as kernels see it: the upper half of a float. Arithmetic on it is done in float. C++17,
// for the host and the GPU.
#pragma once

#include <cstdint>
#include <cstring>  // memcpy

#if defined(__CUDACC__)
#define ORRERY_HOST_DEVICE __host__ __device__
#else
#define ORRERY_HOST_DEVICE
#endif

namespace orrery::kernels {

struct Bf16 {
  uint16_t bits;
};

ORRERY_HOST_DEVICE inline float to_float(Bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/// To the nearest, of two the even one; what is no number stays none.
ORRERY_HOST_DEVICE inline Bf16 to_bf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fc0};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

/// To one of the two neighbours, with a probability that makes the value the mean: by the lower 16
/// of `random`, uniform bits. Sums of small steps do not stand still then, as nearest ones would.
ORRERY_HOST_DEVICE inline Bf16 to_bf16_stochastically(float value, uint32_t random) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7f800000u) == 0x7f800000u) return to_bf16(value);
  return {static_cast<uint16_t>((bits + (random & 0xffffu)) >> 16)};
}

/// The type that arithmetic on T is done in, and the ways there and back.
template <class T>
struct Arithmetic {
  using Type = T;
  ORRERY_HOST_DEVICE static T from(T x) { return x; }
  ORRERY_HOST_DEVICE static T to(T x) { return x; }
};
template <>
struct Arithmetic<Bf16> {
  using Type = float;
  ORRERY_HOST_DEVICE static float from(Bf16 x) { return to_float(x); }
  ORRERY_HOST_DEVICE static Bf16 to(float x) { return to_bf16(x); }
};

}  // namespace orrery::kernels
