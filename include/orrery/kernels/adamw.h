// The loop of AdamW (Loshchilov and Hutter 2019) over plain memory: one pass, all arrays.
#pragma once

#include <cstdint>

#include "orrery/kernels/bf16.h"
#include "orrery/kernels/gpu.h"  // cudaStream_t

namespace orrery::kernels {

/// Numbers of one update that are the same for all elements.
template <class T>
struct AdamWCoefficients {
  T gradient_scale, beta1, beta2, lr, decay, correction1, root_correction2, eps;
};

/// n elements each of parameters p, gradients g, moments m and v. Any instruction set gives the
/// same bits: square roots and quotients are exact, and no product is fused with a sum.
/// Local; any thread.
void adamw_update(float* p, const float* g, float* m, float* v, int64_t n,
                  const AdamWCoefficients<float>& coefficients);
void adamw_update(double* p, const double* g, double* m, double* v, int64_t n,
                  const AdamWCoefficients<double>& coefficients);

/// All pointers are the GPU's. T: float or double; G, the gradients' type: T, or Bf16 with float.
template <class T, class G>
struct AdamWArgs {
  T* p = nullptr;          // [n] parameters, or master weights
  const G* g = nullptr;    // [n]
  T* m = nullptr;          // [n]
  T* v = nullptr;          // [n]
  Bf16* stored = nullptr;  // [n] p rounded, for master weights; null: not wanted
  int64_t n = 0;
  AdamWCoefficients<T> coefficients = {};
};

/// The bits of adamw_update(). Asynchronous on `stream`. Throws CallError.
template <class T, class G>
void adamw_cuda(const AdamWArgs<T, G>& args, cudaStream_t stream);

}  // namespace orrery::kernels
