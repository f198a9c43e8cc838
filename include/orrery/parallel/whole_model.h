// A model put together from its shards, to be written where people can read it.
#pragma once

#include <memory>

#include "orrery/model/decoder.h"
#include "orrery/parallel/replica_groups.h"

namespace orrery::parallel {

/// The whole model of the shards of data rank 0, on the first worker of the replica; null
/// elsewhere. That worker needs memory for the model and one more shard. Collective over the shards
/// of data rank 0; others must not call it.
std::unique_ptr<model::Decoder> gather_model(const model::Decoder& shard,
                                             const ReplicaGroups& groups);

/// Copies the parameters of `table` in the flat buffer `from` to their places in `whole`, which is
/// no shard. Local.
void place_parameters(const model::ParameterTable& table, const at::Tensor& from,
                      model::FlatParameters& whole);

}  // namespace orrery::parallel
