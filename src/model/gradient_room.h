// Where a backward pass adds the gradients of a part of a shard: to the views of the gradient
// buffer themselves, or, where that is of bf16, to fp32 numbers that begin at 0 and are added to it
// when the part is done, rounded to the nearest. So a buffer of bf16 rounds once for each
// micro-batch, and kernels know of fp32 alone. Private to src/model.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

#include "shard_weights.h"

namespace orrery::model {

class GradientRoom {
 public:
  /// `views` of the gradient buffer (Norm, Linear, EmbeddingWeights or LayerWeights) -> where
  /// their gradients are added until add_to_buffer().
  template <class Part>
  Part of(Part views) {
    for_each_tensor(views, [this](at::Tensor& view) { make_wide(view); });
    return views;
  }

  /// Does nothing where of() gave the views themselves. Afterwards there is no room.
  void add_to_buffer();

 private:
  void make_wide(at::Tensor& view);

  std::vector<std::pair<at::Tensor, at::Tensor>> wide_;  // of the buffer [n], and beside it
};

}  // namespace orrery::model
