// Gradients of the data ranks become their sum, and are kept from being too large.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "orrery/comm/communicator.h"

namespace orrery::parallel {

/// Elements of one all-reduce: few enough that a piece is still in cache when its ranks add it,
/// enough that the latency of a message does not count.
inline constexpr int64_t kGradientBucketElements = int64_t{8} << 20;

/// gradients [numel] contiguous, in place: summed over the group, bucket by bucket.
/// Collective over the group; numel must be the same on all ranks.
void sum_gradients(const at::Tensor& gradients, comm::Communicator& group,
                   int64_t bucket_elements = kGradientBucketElements);

/// What gradients of this norm are multiplied by so that it is at most `max_norm` (0: no limit).
double clip_scale(double norm, double max_norm);

}  // namespace orrery::parallel
