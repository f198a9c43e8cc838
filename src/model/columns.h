// Logits of the whole vocabulary from those of the tensor ranks' parts. Private to src/model.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "orrery/model/decoder.h"  // Shard

namespace orrery::model {

class ColumnGather {
 public:
  /// `shard` must outlive it.
  ColumnGather(const Shard& shard, int64_t vocab_size) : shard_(shard), vocab_size_(vocab_size) {}

  /// own [N, own V] -> all [N, V], the same on all ranks. Keeps the room that the largest N took.
  /// Collective over the tensor ranks, of which there must be several.
  void gather(const at::Tensor& own, at::Tensor& all);

 private:
  const Shard& shard_;
  int64_t vocab_size_;
  at::Tensor room_;  // equal parts of all ranks, and the own one before them
};

}  // namespace orrery::model
