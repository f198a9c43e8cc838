#include "orrery/kernels/adamw.h"

#include <algorithm>  // min
#include <cmath>

namespace orrery::kernels {

namespace {

template <class T>
[[gnu::always_inline]] inline void update(T* __restrict p, const T* __restrict g, T* __restrict m,
                                          T* __restrict v, int64_t n,
                                          const AdamWCoefficients<T>& coefficients) {
  const AdamWCoefficients<T> c = coefficients;  // in registers: the arrays cannot alias a copy
  for (int64_t i = 0; i < n; ++i) {
    const T gradient = g[i] * c.gradient_scale;
    m[i] = c.beta1 * m[i] + (1 - c.beta1) * gradient;
    v[i] = c.beta2 * v[i] + (1 - c.beta2) * gradient * gradient;
    const T direction = m[i] / c.correction1 / (std::sqrt(v[i]) / c.root_correction2 + c.eps);
    p[i] -= c.lr * (c.decay * p[i] + direction);
  }
}

#if defined(__x86_64__) && defined(__GNUC__)

template <class T>
[[gnu::target("avx2")]] void update_avx2(T* p, const T* g, T* m, T* v, int64_t n,
                                         const AdamWCoefficients<T>& c) {
  update(p, g, m, v, n, c);
}

template <class T>
void update_with_best(T* p, const T* g, T* m, T* v, int64_t n, const AdamWCoefficients<T>& c) {
  static const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;
  if (has_avx2) return update_avx2(p, g, m, v, n, c);
  update(p, g, m, v, n, c);
}

#else

template <class T>
void update_with_best(T* p, const T* g, T* m, T* v, int64_t n, const AdamWCoefficients<T>& c) {
  update(p, g, m, v, n, c);
}

#endif

}  // namespace

void adamw_update(float* p, const float* g, float* m, float* v, int64_t n,
                  const AdamWCoefficients<float>& coefficients) {
  update_with_best(p, g, m, v, n, coefficients);
}

void adamw_update(double* p, const double* g, double* m, double* v, int64_t n,
                  const AdamWCoefficients<double>& coefficients) {
  update_with_best(p, g, m, v, n, coefficients);
}

void adamw_update(float* p, const float* g, Bf16* m, Bf16* v, int64_t n,
                  const AdamWCoefficients<float>& coefficients, const MomentRounding& rounding) {
  constexpr int64_t kBlock = 1024;
  float first[kBlock], second[kBlock];
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t count = std::min(kBlock, n - begin);
    for (int64_t i = 0; i < count; ++i) {
      first[i] = to_float(m[begin + i]);
      second[i] = to_float(v[begin + i]);
    }
    adamw_update(p + begin, g + begin, first, second, count, coefficients);
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t random = rounding.bits(begin + i);
      m[begin + i] = to_bf16_stochastically(first[i], random);
      v[begin + i] = to_bf16_stochastically(second[i], random >> 16);
    }
  }
}

}  // namespace orrery::kernels
