#include "activation_function.h"

#include <cmath>    // tanh, erf, exp
#include <numbers>  // pi, sqrt2

#include "orrery/kernels/silu_mul.h"

namespace orrery::model {
namespace {

/// f(x) and f'(x).
template <class T>
struct Value {
  T value, slope;
};

template <class T>
Value<T> gelu_tanh(T x) {
  const T a = static_cast<T>(std::numbers::sqrt2 * std::numbers::inv_sqrtpi), b = T(0.044715);
  const T t = std::tanh(a * (x + b * x * x * x));
  return {T(0.5) * x * (1 + t),
          T(0.5) * (1 + t) + T(0.5) * x * (1 - t * t) * a * (1 + 3 * b * x * x)};
}

template <class T>
Value<T> gelu(T x) {
  const T phi = T(0.5) * (1 + std::erf(x / static_cast<T>(std::numbers::sqrt2)));
  const T density =
      std::exp(T(-0.5) * x * x) * static_cast<T>(std::numbers::inv_sqrtpi / std::numbers::sqrt2);
  return {x * phi, phi + x * density};
}

template <class T>
Value<T> silu(T x) {
  const T s = 1 / (1 + std::exp(-x));
  return {x * s, s * (1 + x * (1 - s))};
}

template <class T>
Value<T> relu(T x) {
  return x > 0 ? Value<T>{x, 1} : Value<T>{0, 0};
}

/// Calls work(f) with the function.
template <class T, class Work>
void with_function(ActivationFunction function, Work&& work) {
  switch (function) {
    case ActivationFunction::kSilu:
      return work(silu<T>);
    case ActivationFunction::kGeluTanh:
      return work(gelu_tanh<T>);
    case ActivationFunction::kGelu:
      return work(gelu<T>);
    case ActivationFunction::kRelu:
      return work(relu<T>);
  }
}

}  // namespace

template <class T>
void apply_activation(const ActivationShape& shape, const T* up, T* out) {
  const int64_t width = shape.width;
  if (shape.is_gated && shape.function == ActivationFunction::kSilu) {
    return kernels::silu_mul<T>(
        {.gate_up = up, .out = out, .n_tokens = shape.n_rows, .width = width});
  }
  with_function<T>(shape.function, [&](auto&& f) {
    for (int64_t row = 0; row < shape.n_rows; ++row, out += width) {
      if (shape.is_gated) {
        for (int64_t i = 0; i < width; ++i) out[i] = f(up[i]).value * up[width + i];
        up += 2 * width;
      } else {
        for (int64_t i = 0; i < width; ++i) out[i] = f(up[i]).value;
        up += width;
      }
    }
  });
}

template <class T>
void apply_hidden_backward(const ActivationShape& shape, const T* up, const T* dout, T* dup,
                           T* out) {
  const int64_t width = shape.width;
  if (shape.is_gated && shape.function == ActivationFunction::kSilu) {
    return kernels::silu_mul_backward<T>({.gate_up = up,
                                          .dout = dout,
                                          .dgate_up = dup,
                                          .out = out,
                                          .n_tokens = shape.n_rows,
                                          .width = width});
  }
  with_function<T>(shape.function, [&](auto&& f) {
    const int64_t up_width = shape.is_gated ? 2 * width : width;
    for (int64_t row = 0; row < shape.n_rows; ++row) {
      for (int64_t i = 0; i < width; ++i) {
        const Value<T> of = f(up[i]);
        const T d = dout[i], factor = shape.is_gated ? up[width + i] : T(1);
        dup[i] = d * factor * of.slope;
        if (shape.is_gated) dup[width + i] = d * of.value;
        out[i] = of.value * factor;
      }
      up += up_width;
      dup += up_width;
      dout += width;
      out += width;
    }
  });
}

template void apply_activation<float>(const ActivationShape&, const float*, float*);
template void apply_activation<double>(const ActivationShape&, const double*, double*);
template void apply_hidden_backward<float>(const ActivationShape&, const float*, const float*,
                                           float*, float*);
template void apply_hidden_backward<double>(const ActivationShape&, const double*, const double*,
                                            double*, double*);

}  // namespace orrery::model
