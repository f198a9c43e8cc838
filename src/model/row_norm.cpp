#include "row_norm.h"

#include <cmath>  // sqrt

namespace orrery::model {
namespace {

template <class T>
T mean_of(const T* row, int64_t width) {
  T sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += row[i];
  return sum / static_cast<T>(width);
}

template <class T>
void layer_norm(const RowNormArgs<T>& args) {
  const int64_t width = args.width;
  for (int64_t row = 0; row < args.n_rows; ++row) {
    const T* x = args.x + row * width;
    T* y = args.y + row * width;
    const T mean = mean_of(x, width);
    T squares = 0;
    for (int64_t i = 0; i < width; ++i) squares += (x[i] - mean) * (x[i] - mean);
    const T rstd = static_cast<T>(
        1 / std::sqrt(static_cast<double>(squares) / static_cast<double>(width) + args.eps));
    for (int64_t i = 0; i < width; ++i) {
      y[i] = (x[i] - mean) * rstd * args.weight[i] + args.bias[i];
    }
    if (args.rstd != nullptr) args.rstd[row] = rstd;
  }
}

/// With h = (x - mean) rstd and g = dy w: dx = rstd (g - mean(g) - h mean(g h)).
template <class T>
void layer_norm_backward(const RowNormBackwardArgs<T>& args) {
  const int64_t width = args.width;
  const bool adds = args.dx_output == kernels::Output::kAdd;
  for (int64_t row = 0; row < args.n_rows; ++row) {
    const T* x = args.x + row * width;
    const T* dy = args.dy + row * width;
    T* dx = args.dx + row * width;
    const T mean = mean_of(x, width), rstd = args.rstd[row];
    T sum = 0, product = 0;
    for (int64_t i = 0; i < width; ++i) {
      const T h = (x[i] - mean) * rstd, g = dy[i] * args.weight[i];
      sum += g;
      product += g * h;
    }
    sum /= static_cast<T>(width);
    product /= static_cast<T>(width);
    for (int64_t i = 0; i < width; ++i) {
      const T h = (x[i] - mean) * rstd, d = dy[i];
      const T value = rstd * (d * args.weight[i] - sum - h * product);
      args.dweight[i] += d * h;
      args.dbias[i] += d;
      dx[i] = adds ? dx[i] + value : value;
    }
  }
}

}  // namespace

template <class T>
NormScale<T>::NormScale(NormKind kind, const T* weight, int64_t width) : weight_(weight) {
  if (kind != NormKind::kRmsPlusOne) return;
  shifted_.assign(weight, weight + width);
  for (T& w : shifted_) w += T(1);
}

template <class T>
void norm_rows(const RowNormArgs<T>& args) {
  if (args.kind == NormKind::kLayer) return layer_norm(args);
  const NormScale<T> scale(args.kind, args.weight, args.width);
  kernels::rms_norm<T>({.x = args.x,
                        .weight = scale.data(),
                        .y = args.y,
                        .rstd = args.rstd,
                        .n_tokens = args.n_rows,
                        .width = args.width,
                        .x_stride = args.width,
                        .y_stride = args.width,
                        .eps = args.eps});
}

template <class T>
void norm_rows_backward(const RowNormBackwardArgs<T>& args) {
  if (args.kind == NormKind::kLayer) return layer_norm_backward(args);
  const NormScale<T> scale(args.kind, args.weight, args.width);
  kernels::rms_norm_backward<T>({.x = args.x,
                                 .weight = scale.data(),
                                 .rstd = args.rstd,
                                 .dy = args.dy,
                                 .dx = args.dx,
                                 .dweight = args.dweight,
                                 .n_tokens = args.n_rows,
                                 .width = args.width,
                                 .x_stride = args.width,
                                 .dy_stride = args.width,
                                 .dx_stride = args.width,
                                 .dx_output = args.dx_output});
}

template class NormScale<float>;
template class NormScale<double>;
template void norm_rows<float>(const RowNormArgs<float>&);
template void norm_rows<double>(const RowNormArgs<double>&);
template void norm_rows_backward<float>(const RowNormBackwardArgs<float>&);
template void norm_rows_backward<double>(const RowNormBackwardArgs<double>&);

}  // namespace orrery::model
