// The activation functions of MLPs, with their slopes, and the kernels that apply them on GPUs:
// f(gate) * up, or f(up). T: float, double or Bf16. Shape letters: N rows, I hidden units.
#pragma once

#include <cmath>
#include <cstdint>

#include "orrery/kernels/bf16.h"
#include "orrery/kernels/gpu.h"  // cudaStream_t

namespace orrery::kernels {

enum class ActivationFunction { kSilu, kGeluTanh, kGelu, kRelu };

/// f(x) and f'(x).
template <class T>
struct Activation {
  T value, slope;
};

template <class T>
ORRERY_HOST_DEVICE Activation<T> silu(T x) {
  const T s = 1 / (1 + std::exp(-x));
  return {x * s, s * (1 + x * (1 - s))};
}

/// Hendrycks and Gimpel 2016, the approximation by tanh.
template <class T>
ORRERY_HOST_DEVICE Activation<T> gelu_tanh(T x) {
  const T a = T(0.79788456080286535588), b = T(0.044715);  // a: sqrt(2 / pi)
  const T t = std::tanh(a * (x + b * x * x * x));
  return {T(0.5) * x * (1 + t),
          T(0.5) * (1 + t) + T(0.5) * x * (1 - t * t) * a * (1 + 3 * b * x * x)};
}

template <class T>
ORRERY_HOST_DEVICE Activation<T> gelu(T x) {
  const T phi = T(0.5) * (1 + std::erf(x / T(1.41421356237309504880)));
  const T density = std::exp(T(-0.5) * x * x) * T(0.39894228040143267794);
  return {x * phi, phi + x * density};
}

template <class T>
ORRERY_HOST_DEVICE Activation<T> relu(T x) {
  return x > 0 ? Activation<T>{x, 1} : Activation<T>{0, 0};
}

template <class T>
ORRERY_HOST_DEVICE Activation<T> activation(ActivationFunction function, T x) {
  switch (function) {
    case ActivationFunction::kSilu:
      return silu(x);
    case ActivationFunction::kGeluTanh:
      return gelu_tanh(x);
    case ActivationFunction::kGelu:
      return gelu(x);
    case ActivationFunction::kRelu:
      break;
  }
  return relu(x);
}

/// All pointers are the GPU's.
template <class T>
struct ActivateArgs {
  const T* up = nullptr;  // [N, 2 I] gate and up, or [N, I] without a gate
  T* out = nullptr;       // [N, I]
  int64_t n_rows = 0;
  int64_t width = 0;  // I
  ActivationFunction function = ActivationFunction::kSilu;
  bool is_gated = true;
};

/// All pointers are the GPU's.
template <class T>
struct ActivateBackwardArgs {
  const T* up = nullptr;    // as in forward
  const T* dout = nullptr;  // [N, I]
  T* dup = nullptr;         // as `up`, which it may be
  T* out = nullptr;         // [N, I] the forward result again; may be dout
  int64_t n_rows = 0;
  int64_t width = 0;
  ActivationFunction function = ActivationFunction::kSilu;
  bool is_gated = true;
};

/// Asynchronous on `stream`. Throws CallError.
template <class T>
void activate_cuda(const ActivateArgs<T>& args, cudaStream_t stream);
template <class T>
void activate_backward_cuda(const ActivateBackwardArgs<T>& args, cudaStream_t stream);

}  // namespace orrery::kernels
