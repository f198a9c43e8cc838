// A matrix of a model and how rows go through it: y = x W^T + b. Private to src/model.
//
// On several tensor ranks a matrix is cut by its rows (column-parallel: every rank makes some
// columns of y from all rows of x) or by its columns (row-parallel: every rank makes a part of the
// sum): Shoeybi et al. 2019, Megatron-LM. Here is where rows are gathered and sums reduced.
// Shape letters: T packed tokens, R own rows of them (row_exchange.h).
#pragma once

#include <ATen/core/Tensor.h>

#include "orrery/kernels/instruction_set.h"  // Amx
#include "row_exchange.h"

namespace orrery::model {

/// Views of the flat buffer; of the gradient's, with the same shapes.
struct Linear {
  at::Tensor weight;  // [n_out, n_in]; undefined: the model has no such matrix
  at::Tensor bias;    // [n_out]; undefined without
  at::Tensor panels;  // the weight as kernels/packed_gemm.h reads it; undefined: as it lies.
                      // Then each number is summed in an order that no other row changes
  kernels::Amx amx = kernels::Amx::kAuto;

  bool defined() const { return weight.defined(); }
  int64_t n_out() const { return weight.size(0); }
  int64_t n_in() const { return weight.size(1); }
  Linear without_bias() const {
    return {.weight = weight, .bias = {}, .panels = panels, .amx = amx};
  }
};

/// y [N, n_out] = x [N, n_in] W^T + b, plus `residual` [N, n_out] where defined, which may be y.
/// `at_once`: matmuls of so many rows each, however many there are, the last one filled up: a
/// library that chooses by their number how it sums gives each row the same bits then. 0: all of
/// them. Local.
void apply(const Linear& linear, const at::Tensor& x, at::Tensor& y,
           const at::Tensor& residual = {}, int64_t at_once = 0);

/// The matmuls of a pass: its rows, and room for all rows, or for partial sums of them.
struct ParallelRows {
  const PassRows& rows;
  at::Tensor& full;  // [n_gathered, H]; not used with one tensor rank
};

/// y [T, n_out] of own rows x [R, n_in]. Collective over the tensor ranks.
void apply_column_parallel(const Linear& linear, const ParallelRows& parallel, const at::Tensor& x,
                           at::Tensor& y);
/// Own rows y [R, n_out] of the sum over the ranks of x [T, n_in] W^T, + b, + residual [R, n_out]
/// where defined, which is not y. Collective.
void apply_row_parallel(const Linear& linear, const ParallelRows& parallel, const at::Tensor& x,
                        const at::Tensor& residual, at::Tensor& y);

/// Column-parallel, from dy [T, n_out]: adds to `dlinear`, whose weight reads the own rows x of the
/// forward pass, and writes dx [R, n_in]. Collective.
void column_parallel_backward(const Linear& linear, Linear& dlinear, const ParallelRows& parallel,
                              const at::Tensor& x, const at::Tensor& dy, at::Tensor& dx);
/// Row-parallel, first half: own rows dy [R, n_out] -> all of them [T, n_out], in parallel.full
/// with several ranks; dx [T, n_in]. Adds to the bias of `dlinear`. Collective.
at::Tensor row_parallel_backward(const Linear& linear, Linear& dlinear,
                                 const ParallelRows& parallel, const at::Tensor& dy,
                                 at::Tensor& dx);
/// dlinear.weight += dy^T x: its second half, for which x may be made after dx. Local.
void add_weight_gradient(Linear& dlinear, const at::Tensor& dy, const at::Tensor& x);

}  // namespace orrery::model
