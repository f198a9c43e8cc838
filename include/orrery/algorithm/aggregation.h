// From losses of actions to one number that does not depend on how a minibatch was cut: every
// action gets a weight that its own sequence gives it, and the weighted sums of all micro-batches
// and data ranks are divided by one weight of the whole minibatch. Local. Shape letter: A actions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "orrery/algorithm/objective_options.h"

namespace orrery::algorithm {

/// [A] fp64, what each valid action counts for: 1, or with seq_mean_token_mean 1 / valid actions of
/// its sequence. Undefined: 1 everywhere.
///   lengths [N] actions of each sequence, mask [A] bool
at::Tensor action_weights(const std::vector<int32_t>& lengths, const at::Tensor& mask,
                          const AggregationOptions& options);

/// What the weighted sum of these sequences is divided by, to be summed over everything that the
/// mean is over: valid actions; sequences (with a valid action, or all of them with
/// count_empty_sequences); or all sequences times the constant length.
double aggregation_weight(const std::vector<int32_t>& lengths, const at::Tensor& mask,
                          const AggregationOptions& options);

}  // namespace orrery::algorithm
