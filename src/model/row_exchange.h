// The rows of a pass on tensor ranks. In training and scoring they are cut (sequence parallelism):
// between the matmuls of a layer each rank holds some rows of the packed tokens, all columns;
// inside them all rows, some columns (Korthikanti et al. 2022, Reducing Activation Recomputation in
// Large Transformer Models). In generation, with few rows, every rank holds all of them. Private to
// src/model.
//
//   own rows [R, H]  -- gather -->  all rows [T, H]  -> matmuls cut by columns, then by rows ->
//   partial sums [T, H]  -- reduce -->  own rows [R, H]
//
// Shape letters: T packed tokens, R own rows: ceil(T / tensor ranks), or all. Rows past T are
// zeros.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "orrery/comm/communicator.h"

namespace orrery::model {

/// Without tensor ranks own rows are all rows, and nothing is copied.
struct PassRows {
  int64_t n_tokens = 0;                  // T
  int64_t n_own = 0;                     // R
  int64_t n_gathered = 0;                // rows of `full` below: R * ranks, or T; 0 without ranks
  comm::Communicator* tensor = nullptr;  // null: one tensor rank
  bool is_cut = false;
  int64_t at_once = 0;  // rows of a matmul (linear.h); 0: all

  /// Cut over the ranks of `tensor`, which may be null.
  static PassRows cut(int64_t n_tokens, comm::Communicator* tensor);
  /// All of them on every rank.
  static PassRows whole(int64_t n_tokens, comm::Communicator* tensor, int64_t at_once = 0);
};

/// All rows of `own` [R, H]. Where they are cut they are written to `full` [n_gathered, H] and
/// the result is a view of it; else the result is `own`. Collective over the tensor ranks.
at::Tensor gather_rows(const PassRows& rows, const at::Tensor& own, at::Tensor& full);

/// own [R, H] = own rows of the sum over the tensor ranks of the first T rows of `full`; the other
/// rows of own are set to zero. Only with tensor ranks; collective over them.
void reduce_rows(const PassRows& rows, at::Tensor& full, at::Tensor own);

/// The same, plus `residual` [R, H] where defined, which is not `own`.
void add_reduced_rows(const PassRows& rows, at::Tensor& full, const at::Tensor& residual,
                      at::Tensor& own);

/// The same of `partial` [T, H], which is copied to `full`.
void add_reduced_rows(const PassRows& rows, const at::Tensor& partial, at::Tensor& full,
                      const at::Tensor& residual, at::Tensor& own);

/// The same two in memory of their own: all rows [T, H] of `own` [R, H], and own rows of the sum of
/// `partial` [T, H]. Without tensor ranks what was given. Collective likewise.
at::Tensor gathered(const PassRows& rows, const at::Tensor& own);
at::Tensor reduced(const PassRows& rows, const at::Tensor& partial);

}  // namespace orrery::model
