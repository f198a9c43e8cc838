// A mixture of experts forwards and backwards, on the experts of one tensor rank: every rank routes
// all tokens alike, runs its own experts and its part of the shared one, and the sum over the ranks
// is the layer. Backward runs the experts again instead of keeping what they made: the room for it
// would depend on the routing. Private to src/model.
// Shape letters: T packed tokens, H hidden, E experts, K experts of a token.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "orrery/model/decoder.h"  // Routing

namespace orrery::model {

/// Views of the flat buffer. I: its hidden units.
struct MlpWeights {
  at::Tensor up;         // [2 I, H] gate and up, or [I, H]
  at::Tensor up_bias;    // [2 I] or [I]; undefined without
  at::Tensor down;       // [H, I]
  at::Tensor down_bias;  // [H]; undefined without
};

struct ExpertWeights {
  at::Tensor router;            // [E, H]; undefined: the layer has no experts
  int64_t first = 0;            // expert of `own` 0
  std::vector<MlpWeights> own;  // of this tensor rank
  MlpWeights shared;            // undefined without
  at::Tensor shared_gate;       // [1, H]; undefined without
};

/// rows [T, H].
Routing route_rows(const Architecture& architecture, const ExpertWeights& weights,
                   const at::Tensor& rows);

/// [T, H]: this rank's part of the layer's output. `architecture` of the shard.
at::Tensor forward_experts(const Architecture& architecture, const ExpertWeights& weights,
                           const Routing& routing, const at::Tensor& rows);

/// The balance loss in backward: `weight` times the gradient of, for each sequence of n tokens,
/// n E sum_e (assignments to e / n) (mean probability of e).
struct Balance {
  double weight = 0;
  const std::vector<int32_t>& cu_seqlens;
};

/// dy [T, H] -> [T, H]: this rank's part of the gradient by `rows`. Adds its part of those of the
/// weights to `dweights`.
at::Tensor backward_experts(const Architecture& architecture, const ExpertWeights& weights,
                            ExpertWeights& dweights, const Routing& routing, const Balance& balance,
                            const at::Tensor& rows, const at::Tensor& dy);

}  // namespace orrery::model
