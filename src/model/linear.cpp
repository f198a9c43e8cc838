#include "linear.h"

#include "dispatch.h"
#include "matmul.h"
#include "operators.h"
#include "orrery/kernels/packed_gemm.h"

namespace orrery::model {
namespace {

void apply_panels(const Linear& linear, const at::Tensor& x, at::Tensor& y,
                  const at::Tensor& residual) {
  with_type(x.scalar_type(), [&]<class T>() {
    kernels::packed_gemm<T>({.x = values<T>(x),
                             .packed = values<T>(linear.panels),
                             .bias = values<T>(linear.bias),
                             .residual = values<T>(residual),
                             .y = mutable_values<T>(y),
                             .n_rows = x.size(0),
                             .n_in = linear.n_in(),
                             .n_out = linear.n_out(),
                             .x_stride = linear.n_in(),
                             .y_stride = linear.n_out()});
  });
}

/// The part of all rows that a pass has.
at::Tensor used_rows(const ParallelRows& parallel) {
  return parallel.full.narrow(0, 0, parallel.rows.n_tokens);
}

}  // namespace

void apply(const Linear& linear, const at::Tensor& x, at::Tensor& y, const at::Tensor& residual) {
  if (linear.panels.defined()) return apply_panels(linear, x, y, residual);
  if (!residual.defined()) {
    multiply_into(linear.amx, y, x, linear.weight.t());
  } else {
    if (!residual.is_same(y)) y.copy_(residual);
    multiply_onto(linear.amx, y, x, linear.weight.t());
  }
  if (linear.bias.defined()) operators::add_bias(y, linear.bias);
}

void apply_column_parallel(const Linear& linear, const ParallelRows& parallel, const at::Tensor& x,
                           at::Tensor& y) {
  apply(linear, gather_rows(parallel.rows, x, parallel.full), y);
}

void apply_row_parallel(const Linear& linear, const ParallelRows& parallel, const at::Tensor& x,
                        const at::Tensor& residual, at::Tensor& y) {
  if (parallel.rows.tensor == nullptr) return apply(linear, x, y, residual);
  at::Tensor partial = used_rows(parallel);
  apply(linear.without_bias(), x, partial);
  add_reduced_rows(parallel.rows, parallel.full, residual, y);
  // On own rows, after the sum over the tensor ranks: counted once.
  if (linear.bias.defined()) operators::add_bias(y, linear.bias);
}

void column_parallel_backward(const Linear& linear, Linear& dlinear, const ParallelRows& parallel,
                              const at::Tensor& x, const at::Tensor& dy, at::Tensor& dx) {
  if (dlinear.bias.defined()) operators::add_column_sums(dy, dlinear.bias);
  add_weight_gradient(dlinear, dy, gather_rows(parallel.rows, x, parallel.full));
  at::Tensor partial = parallel.rows.tensor == nullptr ? dx : used_rows(parallel);
  multiply_into(linear.amx, partial, dy, linear.weight);
  if (parallel.rows.tensor != nullptr) reduce_rows(parallel.rows, parallel.full, dx);
}

at::Tensor row_parallel_backward(const Linear& linear, Linear& dlinear,
                                 const ParallelRows& parallel, const at::Tensor& dy,
                                 at::Tensor& dx) {
  if (dlinear.bias.defined()) operators::add_column_sums(dy, dlinear.bias);
  at::Tensor all = gather_rows(parallel.rows, dy, parallel.full);
  multiply_into(linear.amx, dx, all, linear.weight);
  return all;
}

void add_weight_gradient(Linear& dlinear, const at::Tensor& dy, const at::Tensor& x) {
  multiply_onto(dlinear.amx, dlinear.weight, dy.t(), x);
}

}  // namespace orrery::model
