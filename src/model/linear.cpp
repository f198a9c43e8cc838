#include "linear.h"

#include <ATen/ops/empty.h>

#include <algorithm>  // min

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

/// y [N, n_out] = x W^T, or y += x W^T.
void multiply(const Linear& linear, const at::Tensor& x, at::Tensor& y, bool is_added) {
  const auto of = is_added ? multiply_onto : multiply_into;
  of(linear.amx, y, x, linear.weight.t());
}

/// [n, columns]: `rows`, and whatever is in memory behind them.
at::Tensor filled_up(const at::Tensor& rows, int64_t n) {
  at::Tensor all = at::empty({n, rows.size(1)}, rows.options());
  all.narrow(0, 0, rows.size(0)).copy_(rows);
  return all;
}

void multiply_some_at_once(const Linear& linear, const at::Tensor& x, at::Tensor& y, bool is_added,
                           int64_t at_once) {
  for (int64_t first = 0; first < x.size(0); first += at_once) {
    const int64_t n = std::min(at_once, x.size(0) - first);
    const at::Tensor some = x.narrow(0, first, n);
    at::Tensor result = y.narrow(0, first, n);
    if (n == at_once) {
      multiply(linear, some, result, is_added);
      continue;
    }
    at::Tensor whole = is_added ? filled_up(result, at_once)
                                : at::empty({at_once, result.size(1)}, result.options());
    multiply(linear, filled_up(some, at_once), whole, is_added);
    result.copy_(whole.narrow(0, 0, n));
  }
}

/// The part of all rows that a pass has.
at::Tensor used_rows(const ParallelRows& parallel) {
  return parallel.full.narrow(0, 0, parallel.rows.n_tokens);
}

}  // namespace

void apply(const Linear& linear, const at::Tensor& x, at::Tensor& y, const at::Tensor& residual,
           int64_t at_once) {
  if (linear.panels.defined()) return apply_panels(linear, x, y, residual);
  const bool is_added = residual.defined();
  if (is_added && !residual.is_same(y)) y.copy_(residual);
  if (at_once == 0 || at_once == x.size(0)) {
    multiply(linear, x, y, is_added);
  } else {
    multiply_some_at_once(linear, x, y, is_added, at_once);
  }
  if (linear.bias.defined()) operators::add_bias(y, linear.bias);
}

void apply_column_parallel(const Linear& linear, const ParallelRows& parallel, const at::Tensor& x,
                           at::Tensor& y) {
  apply(linear, gather_rows(parallel.rows, x, parallel.full), y, {}, parallel.rows.at_once);
}

void apply_row_parallel(const Linear& linear, const ParallelRows& parallel, const at::Tensor& x,
                        const at::Tensor& residual, at::Tensor& y) {
  const int64_t at_once = parallel.rows.at_once;
  if (parallel.rows.tensor == nullptr) return apply(linear, x, y, residual, at_once);
  at::Tensor partial = used_rows(parallel);
  apply(linear.without_bias(), x, partial, {}, at_once);
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
