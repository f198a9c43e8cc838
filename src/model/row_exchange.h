// Sequence parallelism: between the matmuls of a layer each tensor rank holds some rows of the
// packed tokens, all columns; inside them all rows, some columns (Korthikanti et al. 2022, Reducing
// Activation Recomputation in Large Transformer Models). Private to src/model.
//
//   own rows [R, H]  -- gather -->  all rows [T, H]  -> matmuls cut by columns, then by rows ->
//   partial sums [T, H]  -- reduce -->  own rows [R, H]
//
// Shape letters: T packed tokens, R = ceil(T / tensor ranks) own rows. Rows past T are zeros.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "orrery/comm/communicator.h"

namespace orrery::model {

/// Rows of one pass. Without tensor ranks own rows are all rows, and nothing is copied.
struct PassRows {
  int64_t n_tokens = 0;                  // T
  int64_t n_own = 0;                     // R
  int64_t n_gathered = 0;                // R * tensor ranks; 0 without
  comm::Communicator* tensor = nullptr;  // null: one tensor rank

  static PassRows of(int64_t n_tokens, comm::Communicator* tensor);
};

/// All rows of `own` [R, H]. With tensor ranks they are written to `full` [n_gathered, H] and
/// the result is a view of it; without, the result is `own`. Collective over the tensor ranks.
at::Tensor gather_rows(const PassRows& rows, const at::Tensor& own, at::Tensor& full);

/// own [R, H] = own rows of the sum over the tensor ranks of the first T rows of `full`, whose
/// other rows are set to zero. Only with tensor ranks; collective over them.
void reduce_rows(const PassRows& rows, at::Tensor& full, at::Tensor own);

}  // namespace orrery::model
