// Logits of the whole vocabulary from those of the tensor ranks' parts. Private to src/model.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "orrery/model/decoder.h"  // Shard

namespace orrery::model {

class ColumnGather {
 public:
  /// For `max_rows` rows at most, of these options; `shard` must outlive it. The room is made here,
  /// once: a graph that was recorded goes on to use it.
  ColumnGather(const Shard& shard, int64_t vocab_size, int64_t max_rows,
               const at::TensorOptions& options);

  /// own [N, own V] -> all [N, V], the same on all ranks. Collective over the tensor ranks, of
  /// which there must be several.
  void gather(const at::Tensor& own, at::Tensor& all);

 private:
  int64_t part_of(int64_t n_rows) const;  // numbers

  const Shard& shard_;
  int64_t vocab_size_;
  at::Tensor room_;  // equal parts of all ranks, and the own one before them; not with one rank
};

}  // namespace orrery::model
