// The experts of one tensor rank on the rows that chose them, all experts in one product on a GPU.
// Where each expert's rows begin stays on the device, so that the host waits for nothing and a
// decoding step can be a graph. In bf16, by LibTorch's at::_grouped_mm: its kernels for compute
// capability 9 and 10 read the offsets themselves, elsewhere it would wait for them.
// Private to src/model.
// Shape letters: T packed tokens, H hidden, E own experts, K experts of a token.
#pragma once

#include <ATen/core/Tensor.h>

#include "orrery/model/architecture.h"
#include "orrery/model/decoder.h"  // Routing
#include "shard_weights.h"

namespace orrery::model {

/// Whether the own experts can be multiplied with as one: matrices of bf16 on a GPU that has the
/// kernels, whose rows are multiples of 16 bytes.
bool can_group(const ExpertWeights& weights);

/// [T, H]: as forward_experts(), the shared expert left out. Rounds the output of each expert and
/// their sum, which is made in fp32 in the order of a token's experts.
at::Tensor forward_grouped(const Architecture& architecture, const ExpertWeights& weights,
                           const Routing& routing, const at::Tensor& rows);

/// dy [T, H] -> the gradient by `rows` [T, H]; adds to `dweight` [T, K] that by the weights of
/// routing, and to `dweights` the own experts', which products give rounded to bf16.
at::Tensor backward_grouped(const Architecture& architecture, const ExpertWeights& weights,
                            ExpertWeights& dweights, const Routing& routing, const at::Tensor& rows,
                            const at::Tensor& dy, at::Tensor& dweight);

}  // namespace orrery::model
