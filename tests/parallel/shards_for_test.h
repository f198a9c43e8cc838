// Shards of a small model on threads, for tests that compare layouts with one worker.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "orrery/comm/communicator.h"
#include "orrery/graph/topology.h"
#include "orrery/model/decoder.h"
#include "orrery/parallel/replica_groups.h"

namespace orrery::parallel {

/// Four blocks; a vocabulary and key heads that do not divide evenly. kind: plain, bias, qk_norm,
/// tied, gemma, gpt2, gemma3, olmo2, smollm3 or experts (with a shared one, and one layer without).
model::Architecture four_layers(const std::string& kind);

/// Initialised, gradients well above rounding.
void disturb(model::FlatParameters& parameters);

/// The shard of one rank of `all`, with its groups, made by splitting that. Collective.
struct TestShard {
  graph::Coordinate at;
  std::vector<std::unique_ptr<comm::Communicator>> owned;
  ReplicaGroups groups;
  std::unique_ptr<model::Decoder> decoder;

  TestShard(const model::Architecture& a, const graph::Degrees& degrees, comm::Communicator& all,
            at::ScalarType dtype = at::kDouble);
};

/// The part of a full parameter that a shard has.
at::Tensor part_of(const at::Tensor& full, const model::ParameterSpec& spec);

/// Layouts that fit: of up to 4 workers and some of 8, or with ORRERY_FULL set all of up to 8.
std::vector<graph::Degrees> layouts(const model::Architecture& a);

}  // namespace orrery::parallel
