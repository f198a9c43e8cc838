// The loop of AdamW (Loshchilov and Hutter 2019) over plain memory: one pass, all arrays.
#pragma once

#include <cstdint>

#include "orrery/base/philox.h"
#include "orrery/kernels/bf16.h"
#include "orrery/kernels/gpu.h"  // cudaStream_t

namespace orrery::kernels {

/// Numbers of one update that are the same for all elements.
template <class T>
struct AdamWCoefficients {
  T gradient_scale, beta1, beta2, lr, decay, correction1, root_correction2, eps;
};

/// Where moments of bf16 take the bits of their stochastic rounding from: element i of the arrays
/// is number first + i of all. A step that a resumed run makes again rounds the same.
struct MomentRounding {
  uint64_t step = 0;
  uint64_t first = 0;

  /// 16 bits of the first moment, and above them 16 of the second.
  ORRERY_HOST_DEVICE uint32_t bits(int64_t i) const {
    const uint64_t number = first + static_cast<uint64_t>(i);
    return base::philox4x32(base::philox_counter(number / 4, step),
                            base::philox_key(kStream))[number % 4];
  }

 private:
  static constexpr uint64_t kStream = 0x6d6f6d656e7473;  // nobody else's draws
};

/// n elements each of parameters p, gradients g, moments m and v. Any instruction set gives the
/// same bits: square roots and quotients are exact, and no product is fused with a sum.
/// Local; any thread.
void adamw_update(float* p, const float* g, float* m, float* v, int64_t n,
                  const AdamWCoefficients<float>& coefficients);
void adamw_update(double* p, const double* g, double* m, double* v, int64_t n,
                  const AdamWCoefficients<double>& coefficients);
/// The update is made from what the moments are before they are rounded.
void adamw_update(float* p, const float* g, Bf16* m, Bf16* v, int64_t n,
                  const AdamWCoefficients<float>& coefficients, const MomentRounding& rounding);

/// All pointers are the GPU's. T: float or double; G and M, the types of gradients and moments: T,
/// or Bf16 with float.
template <class T, class G, class M>
struct AdamWArgs {
  T* p = nullptr;          // [n] parameters, or master weights
  const G* g = nullptr;    // [n]
  M* m = nullptr;          // [n]
  M* v = nullptr;          // [n]
  Bf16* stored = nullptr;  // [n] p rounded, for master weights; null: not wanted
  int64_t n = 0;
  AdamWCoefficients<T> coefficients = {};
  MomentRounding rounding = {};  // of Bf16
};

/// The bits of adamw_update(). Asynchronous on `stream`. Throws CallError.
template <class T, class G, class M>
void adamw_cuda(const AdamWArgs<T, G, M>& args, cudaStream_t stream);

/// Calls X(T, G, M) for every set of types of adamw_cuda.
#define ORRERY_ADAMW_TYPES(X) \
  X(float, float, float)      \
  X(float, Bf16, float)       \
  X(float, float, Bf16)       \
  X(float, Bf16, Bf16)        \
  X(double, double, double)

}  // namespace orrery::kernels
