// The exponential of the CPU's vector code, bit for bit, and the order of numbers as integers.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>  // memcpy

#include "blocks/block.h"

namespace orrery::kernels::blocks {

template <class T>
struct Bits;
template <>
struct Bits<float> {
  using Type = uint32_t;
  static constexpr int kMantissa = 23;
  static constexpr float kLowest = -3.40282346638528859812e38F;  // removed_logit()
};
template <>
struct Bits<double> {
  using Type = uint64_t;
  static constexpr int kMantissa = 52;
  static constexpr double kLowest = -1.79769313486231570815e308;
};

template <class T>
ORRERY_BLOCK typename Bits<T>::Type bits_of(T x) {
  typename Bits<T>::Type bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/// An integer that orders as the numbers do. Zeros of both signs are equal.
template <class T>
ORRERY_BLOCK typename Bits<T>::Type ordered(T x) {
  using U = typename Bits<T>::Type;
  constexpr U kSign = U{1} << (8 * sizeof(U) - 1);
  const U bits = bits_of(x == T(0) ? T(0) : x);
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

/// Its constants, as the CPU's src/kernels/target/simd.h has them; a test compares the results bit
/// for bit.
template <class T>
struct ExpOf;
template <>
struct ExpOf<float> {
  static constexpr float kLog2e = 1.44269504F;
  static constexpr float kLn2High = 0.693359375F, kLn2Low = -2.12194440e-4F;
  static constexpr float kRound = 12582912.0F;
  static constexpr float kSmallest = -87.0F;
  static constexpr int kTerms = 8;
};
template <>
struct ExpOf<double> {
  static constexpr double kLog2e = 1.4426950408889634;
  static constexpr double kLn2High = 6.93147180369123816490e-01;
  static constexpr double kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kRound = 6755399441055744.0;
  static constexpr double kSmallest = -708.0;
  static constexpr int kTerms = 14;
};

/// e^x for x <= 0, by the steps and roundings of the CPU's vector code with fused multiply-add.
template <class T>
ORRERY_BLOCK T exp_as_cpu(T x) {
  using C = ExpOf<T>;
  using U = typename Bits<T>::Type;
  if (x < C::kSmallest) return T(0);
  const T shifted = std::fma(x, T(C::kLog2e), T(C::kRound));
  const T n = shifted - C::kRound;
  const T r = std::fma(-n, T(C::kLn2Low), std::fma(-n, T(C::kLn2High), x));
  constexpr double kInverseFactorial[14] = {1.0,
                                            1.0,
                                            1.0 / 2,
                                            1.0 / 6,
                                            1.0 / 24,
                                            1.0 / 120,
                                            1.0 / 720,
                                            1.0 / 5040,
                                            1.0 / 40320,
                                            1.0 / 362880,
                                            1.0 / 3628800,
                                            1.0 / 39916800,
                                            1.0 / 479001600,
                                            1.0 / 6227020800};
  T p = static_cast<T>(kInverseFactorial[C::kTerms - 1]);
  ORRERY_UNROLL
  for (int i = C::kTerms - 2; i >= 0; --i) p = std::fma(p, r, static_cast<T>(kInverseFactorial[i]));
  const U bits = bits_of(p) + (bits_of(shifted) << Bits<T>::kMantissa);
  memcpy(&p, &bits, sizeof p);
  return p;
}

}  // namespace orrery::kernels::blocks
