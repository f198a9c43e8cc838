// Vector registers by GCC's vector extension: of 64 bytes for AVX-512, else of 32, one source for
// AVX2 and for plain x86-64 (where the compiler splits them). Everything in src/kernels/target is
// compiled once per instruction set, inside the namespace ORRERY_KERNEL_TARGET, and uses no inline
// function of the standard library: the linker could keep the AVX2 copy of one for a machine that
// lacks it.
#pragma once

#include <cstdint>

#if defined(ORRERY_VECTOR_BYTES) && ORRERY_VECTOR_BYTES == 64
#include <immintrin.h>  // masked loads and stores: the vector extension has none
#endif

#if !defined(ORRERY_VECTOR_BYTES)
#define ORRERY_VECTOR_BYTES 32
#endif
#define ORRERY_INLINE inline __attribute__((always_inline))

namespace orrery::kernels::ORRERY_KERNEL_TARGET {

template <class T>
struct VecOf;
template <>
struct VecOf<float> {
  typedef float Type __attribute__((vector_size(ORRERY_VECTOR_BYTES)));
  typedef int32_t Int __attribute__((vector_size(ORRERY_VECTOR_BYTES)));
};
template <>
struct VecOf<double> {
  typedef double Type __attribute__((vector_size(ORRERY_VECTOR_BYTES)));
  typedef int64_t Int __attribute__((vector_size(ORRERY_VECTOR_BYTES)));
};
template <class T>
using Vec = typename VecOf<T>::Type;
template <class T>
using IntVec = typename VecOf<T>::Int;

template <class T>
inline constexpr int64_t kLanes = ORRERY_VECTOR_BYTES / static_cast<int64_t>(sizeof(T));

#if ORRERY_VECTOR_BYTES == 64
ORRERY_INLINE Vec<float> splat(float s) {
  return Vec<float>{s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s};
}
ORRERY_INLINE Vec<double> splat(double s) { return Vec<double>{s, s, s, s, s, s, s, s}; }
#else
ORRERY_INLINE Vec<float> splat(float s) { return Vec<float>{s, s, s, s, s, s, s, s}; }
ORRERY_INLINE Vec<double> splat(double s) { return Vec<double>{s, s, s, s}; }
#endif

template <class T>
ORRERY_INLINE Vec<T> load(const T* from) {
  Vec<T> v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

template <class T>
ORRERY_INLINE void store(T* to, const Vec<T>& v) {
  __builtin_memcpy(to, &v, sizeof v);
}

#if ORRERY_VECTOR_BYTES == 64
/// The first n lanes, 0 <= n <= kLanes; the others are zero.
ORRERY_INLINE Vec<float> load_first(const float* from, int64_t n) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1U << n) - 1), from);
}
ORRERY_INLINE Vec<double> load_first(const double* from, int64_t n) {
  return _mm512_maskz_loadu_pd(static_cast<__mmask8>((1U << n) - 1), from);
}
/// The first n lanes only.
template <class T>
ORRERY_INLINE void store_first(T* to, const Vec<T>& v, int64_t n) {
  n = n < kLanes<T> ? n : kLanes<T>;
  if constexpr (sizeof(T) == 4) {
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1U << n) - 1), v);
  } else {
    _mm512_mask_storeu_pd(to, static_cast<__mmask8>((1U << n) - 1), v);
  }
}
#else
template <class T>
ORRERY_INLINE Vec<T> load_first(const T* from, int64_t n) {
  T lanes[kLanes<T>] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = from[i];
  return load(lanes);
}
template <class T>
ORRERY_INLINE void store_first(T* to, const Vec<T>& v, int64_t n) {
  if (n >= kLanes<T>) {
    store<T>(to, v);
    return;
  }
  for (int64_t i = 0; i < n; ++i) to[i] = v[i];
}
#endif

typedef float Floats8 __attribute__((vector_size(32)));
typedef double Doubles4 __attribute__((vector_size(32)));

ORRERY_INLINE float sum32(const Floats8& v) {
  return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}
ORRERY_INLINE double sum32(const Doubles4& v) { return (v[0] + v[2]) + (v[1] + v[3]); }

/// Sum of the lanes, halves first.
ORRERY_INLINE float sum(const Vec<float>& v) {
  Floats8 parts[sizeof v / 32];
  __builtin_memcpy(parts, &v, sizeof v);
  if constexpr (sizeof v == 64) parts[0] += parts[1];
  return sum32(parts[0]);
}
ORRERY_INLINE double sum(const Vec<double>& v) {
  Doubles4 parts[sizeof v / 32];
  __builtin_memcpy(parts, &v, sizeof v);
  if constexpr (sizeof v == 64) parts[0] += parts[1];
  return sum32(parts[0]);
}

template <class V>
ORRERY_INLINE V vmax(const V& a, const V& b) {
  return a > b ? a : b;
}

template <class T>
ORRERY_INLINE T largest(const Vec<T>& v) {
  T lanes[kLanes<T>];
  store<T>(lanes, v);
  for (int64_t half = kLanes<T> / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) {
      lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
    }
  }
  return lanes[0];
}

/// Dot product of n numbers.
template <class T>
ORRERY_INLINE T dot(const T* a, const T* b, int64_t n) {
  Vec<T> acc0{}, acc1{};
  int64_t i = 0;
  for (; i + 2 * kLanes<T> <= n; i += 2 * kLanes<T>) {
    acc0 += load(a + i) * load(b + i);
    acc1 += load(a + i + kLanes<T>) * load(b + i + kLanes<T>);
  }
  T total = sum(acc0 + acc1);
  for (; i < n; ++i) total += a[i] * b[i];
  return total;
}

template <class T>
struct ExpConstants;
template <>
struct ExpConstants<float> {
  static constexpr float kLog2e = 1.44269504F;
  static constexpr float kLn2High = 0.693359375F, kLn2Low = -2.12194440e-4F;
  static constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float kSmallest = -87.0F, kLargest = 88.0F;
  static constexpr int kMantissaBits = 23;
  static constexpr int kTerms = 8;
};
template <>
struct ExpConstants<double> {
  static constexpr double kLog2e = 1.4426950408889634;
  static constexpr double kLn2High = 6.93147180369123816490e-01;
  static constexpr double kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kSmallest = -708.0, kLargest = 709.0;
  static constexpr int kMantissaBits = 52;
  static constexpr int kTerms = 14;
};

inline constexpr double kInverseFactorial[14] = {1.0,
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

/// e^x to within 2 units in the last place; 0 below the smallest normal result; saturates above.
/// x = n ln 2 + r with |r| <= ln 2 / 2, e^r by its Taylor series (the first term left out is below
/// half a unit), 2^n added to the exponent.
template <class T>
ORRERY_INLINE Vec<T> vexp(const Vec<T>& x) {
  using C = ExpConstants<T>;
  const Vec<T> low = splat(C::kSmallest), high = splat(C::kLargest);
  Vec<T> y = x < low ? low : x;
  y = y > high ? high : y;
  const Vec<T> shifted = y * C::kLog2e + splat(C::kRound);
  const Vec<T> n = shifted - C::kRound;
  const Vec<T> r = (y - n * C::kLn2High) - n * C::kLn2Low;
  Vec<T> p = splat(static_cast<T>(kInverseFactorial[C::kTerms - 1]));
#pragma GCC unroll 16
  for (int i = C::kTerms - 2; i >= 0; --i) p = p * r + static_cast<T>(kInverseFactorial[i]);
  IntVec<T> bits;
  IntVec<T> exponent;
  __builtin_memcpy(&bits, &p, sizeof bits);
  __builtin_memcpy(&exponent, &shifted, sizeof exponent);
  bits += exponent << C::kMantissaBits;  // the low bits of `shifted` are n
  Vec<T> result;
  __builtin_memcpy(&result, &bits, sizeof result);
  return x < low ? Vec<T>{} : result;
}

ORRERY_INLINE float scalar_log(float x) { return __builtin_logf(x); }
ORRERY_INLINE double scalar_log(double x) { return __builtin_log(x); }
ORRERY_INLINE float scalar_sqrt(float x) { return __builtin_sqrtf(x); }
ORRERY_INLINE double scalar_sqrt(double x) { return __builtin_sqrt(x); }

/// e^x of one number by the same steps, so that a tail gives what a vector would.
template <class T>
ORRERY_INLINE T scalar_exp(T x) {
  return vexp<T>(splat(x))[0];
}

}  // namespace orrery::kernels::ORRERY_KERNEL_TARGET
