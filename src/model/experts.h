// A mixture of experts forwards and backwards, on the experts of one tensor rank: every rank routes
// all tokens alike, runs its own experts and its part of the shared one, and the sum over the ranks
// is the layer. A row adds its experts in one order, whatever other rows do. Backward runs the
// experts again instead of keeping what they made: the room for it would depend on the routing.
// Private to src/model.
// Shape letters: T packed tokens, H hidden, E experts, K experts of a token.
#pragma once

#include <ATen/core/Tensor.h>

#include "operators.h"
#include "orrery/model/decoder.h"  // Routing
#include "shard_weights.h"

namespace orrery::model {

/// rows [T, H].
Routing route_rows(const Architecture& architecture, const ExpertWeights& weights,
                   const at::Tensor& rows);

/// [T, H]: this rank's part of the layer's output. `architecture` of the shard. Of a GPU it waits
/// to learn who was chosen, unless can_group(weights).
at::Tensor forward_experts(const Architecture& architecture, const ExpertWeights& weights,
                           const Routing& routing, const at::Tensor& rows);

/// dy [T, H] -> [T, H]: this rank's part of the gradient by `rows`. Adds its part of those of the
/// weights to `dweights`.
at::Tensor backward_experts(const Architecture& architecture, const ExpertWeights& weights,
                            ExpertWeights& dweights, const Routing& routing,
                            const BalanceLoss& balance, const at::Tensor& rows,
                            const at::Tensor& dy);

/// The same of the own experts, one after another, where the shared one is left out: in the order
/// of the experts. Of a GPU they wait for it.
at::Tensor forward_in_turn(const Architecture& architecture, const ExpertWeights& weights,
                           const Routing& routing, const at::Tensor& rows);
/// Adds to `dweight` [T, K] the gradient by the weights of routing.
at::Tensor backward_in_turn(const Architecture& architecture, const ExpertWeights& weights,
                            ExpertWeights& dweights, const Routing& routing, const at::Tensor& rows,
                            const at::Tensor& dy, at::Tensor& dweight);

}  // namespace orrery::model
