// Gradients of a minibatch: from each shard's part of what several shards share to the sum, from
// the data ranks' sums to that of all, and none too large. The last sum is cut among the data
// ranks: each gets the partition of the flat buffer whose parameters it updates (ZeRO stage 1,
// Rajbhandari et al. 2020), and what it has updated goes back to all.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "orrery/comm/communicator.h"
#include "orrery/model/decoder.h"
#include "orrery/parallel/replica_groups.h"

namespace orrery::parallel {

/// Elements of one collective: few enough that a piece is still in cache when its ranks add it,
/// enough that the latency of a message does not count.
inline constexpr int64_t kGradientBucketElements = int64_t{8} << 20;

/// Adds up what shards of one data rank have in common: norms and shared key and value heads over
/// the tensor ranks, a tied embedding over the first and last stage. Afterwards every copy has the
/// whole gradient. Collective over the shards of the data rank.
void sum_shared_gradients(model::Decoder& decoder, const ReplicaGroups& groups);

/// The partition of a flat buffer of `numel` elements that a data rank owns: ceil(numel / ranks),
/// the last ones less.
model::IndexRange owned_partition(int64_t numel, int data_rank, int n_data);

/// gradients [numel] -> the owned partition of their sum over the group, [partition.count].
/// With one rank a view of `gradients`. Those of bf16 are added in fp32, and the sum is rounded to
/// the nearest: once, however many ranks there are. Collective over the group.
at::Tensor reduce_to_owners(const at::Tensor& gradients, comm::Communicator& group,
                            int64_t bucket_elements = kGradientBucketElements);

/// values [numel], in place: every partition becomes that of its owner. Collective over the group.
void gather_from_owners(const at::Tensor& values, comm::Communicator& group,
                        int64_t bucket_elements = kGradientBucketElements);

/// Sum of squares of the owned partition of a shard's gradients, copies left out: each element of
/// the replica is counted by one shard. `owned` as from reduce_to_owners. Local; in double, of
/// norms of ranges in the type of sums.
double counted_square_sum(const at::Tensor& owned, const model::ParameterTable& table,
                          const model::IndexRange& partition);

/// What gradients of this norm are multiplied by so that it is at most `max_norm` (0: no limit).
double clip_scale(double norm, double max_norm);

}  // namespace orrery::parallel
