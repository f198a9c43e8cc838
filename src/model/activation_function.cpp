#include "activation_function.h"

#include "orrery/kernels/activation.h"
#include "orrery/kernels/silu_mul.h"

namespace orrery::model {
namespace {

/// Calls work(f) with the function.
template <class T, class Work>
void with_function(ActivationFunction function, Work&& work) {
  switch (function) {
    case ActivationFunction::kSilu:
      return work(kernels::silu<T>);
    case ActivationFunction::kGeluTanh:
      return work(kernels::gelu_tanh<T>);
    case ActivationFunction::kGelu:
      return work(kernels::gelu<T>);
    case ActivationFunction::kRelu:
      return work(kernels::relu<T>);
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
        const kernels::Activation<T> of = f(up[i]);
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
