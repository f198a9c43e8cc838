// Which groups of workers ever communicate: a pure function of the layouts, so that every worker
// makes the same communicators in the same order with no message but the splits themselves.
// One coloured split per family makes all groups of a kind at once; equal groups are made once.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/graph/replica.h"

namespace orrery::graph {

/// Kinds of groups of a replica.
enum class GroupKind {
  kModel,      ///< all shards, in rank order
  kData,       ///< same pipe and tensor coordinate
  kTensor,     ///< same pipe and data coordinate
  kPipe,       ///< same data and tensor coordinate
  kEmbedding,  ///< first and last stage of a pipe group, which share tied embeddings
};

/// `model`, `data`, `tensor`, `pipe` or `embedding`.
std::string_view name_of(GroupKind kind);

/// Workers that communicate; position = rank in the group.
struct Group {
  std::vector<int> workers = {};
  /// All names of this group, `workers` or `actor.0/tensor1`; the first is the one it was made for.
  std::vector<std::string> names = {};
  int split = 0;  ///< index in CommunicatorPlan::splits of the split that makes it
};

/// One collective split of the worker communicator.
struct ColouredSplit {
  static constexpr int kNoColour = -1;
  std::string family = {};  ///< `actor.0/tensor`
  std::vector<int> colour =
      {};                     ///< [n_workers] kNoColour: takes part in the call and gets no group
  std::vector<int> key = {};  ///< [n_workers] rank inside the new group
};

struct CommunicatorPlan {
  int n_workers = 0;
  std::vector<Group> groups;          ///< group 0 is `workers`, made by splits[0]
  std::vector<ColouredSplit> splits;  ///< to be made in this order by all workers

  /// Index in groups of the group of that name, or nothing.
  std::optional<int> find(std::string_view name) const;
  /// Index in groups of the group of this kind that `worker` belongs to, or nothing when it holds
  /// no shard of the replica (embedding: or is on an inner stage).
  std::optional<int> group_of(const Replica& replica, GroupKind kind, int worker) const;
};

/// `workers`, then per replica model, data, tensor, pipe, embedding. A worker whose group exists
/// already has no colour in a family's split; a split in which nobody has a colour is left out.
CommunicatorPlan plan_communicators(const std::vector<Replica>& replicas, int n_workers);

}  // namespace orrery::graph
