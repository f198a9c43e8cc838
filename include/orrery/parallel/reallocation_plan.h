// Which worker sends which parameters to which, from any layout of a model to any other, on the
// same, overlapping or disjoint workers. A pure function of the two layouts: every worker computes
// the same plan. No byte is sent twice to one place; a worker that has a part itself copies it.
//
//   source shards            destination shards         every parameter as a matrix:
//   worker 0: rows 0-3   ->  worker 2: rows 0-1         rectangles of the sources are intersected
//   worker 1: rows 4-7   ->  worker 3: rows 2-7         with those of the destinations
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "orrery/graph/layout.h"
#include "orrery/kernels/strided_copy.h"  // StridedCopy: what is packed and unpacked
#include "orrery/model/architecture.h"
#include "orrery/model/parameter_table.h"

namespace orrery::parallel {

/// A rectangle of a parameter in a shard's flat buffer, row-major without gaps. A vector of n is n
/// rows of one column.
struct PlacedBlock {
  int parameter = 0;  ///< the same number in both layouts
  int64_t first_row = 0;
  int64_t n_rows = 0;
  int64_t first_column = 0;
  int64_t n_columns = 0;
  int64_t offset = 0;  ///< of its first element, in elements
};

/// What one worker holds. Blocks of different workers are equal rectangles or disjoint.
struct ShardBlocks {
  int worker = 0;
  std::vector<PlacedBlock> blocks;
};

/// Shards of a model in a layout, by rank of the layout.
std::vector<ShardBlocks> shards_of(const model::Architecture& architecture,
                                   const graph::Layout& layout);

using kernels::StridedCopy;

/// What goes from one worker to another in one round; from == to: a copy within the worker.
struct ParameterTransfer {
  int from = 0;
  int to = 0;
  std::vector<StridedCopy> copies;

  int64_t numel() const;
};

struct ReallocationPlan {
  /// Rounds, in order; in each a worker sends and receives at most `bucket` elements.
  std::vector<std::vector<ParameterTransfer>> rounds;
  int64_t bucket = 0;
};

struct ReallocationOptions {
  int64_t bucket_elements = int64_t{32} << 20;  ///< 128 MiB of fp32 each way
  std::vector<int> node_of_worker = {};         ///< empty: all on one node
};

/// Senders are chosen for each rectangle: the destination itself, else a worker of its node, else
/// any; among equals the one that sends least so far.
/// Throws ShapeError when the destination wants what no source has.
ReallocationPlan plan_reallocation(const std::vector<ShardBlocks>& source,
                                   const std::vector<ShardBlocks>& destination,
                                   const ReallocationOptions& options = {});

/// What a plan moves, in elements.
struct ReallocationVolume {
  int64_t local = 0;                         ///< copied within workers
  int64_t on_node = 0;                       ///< sent between workers of a node
  int64_t off_node = 0;                      ///< sent between nodes
  int64_t most_sent = 0, most_received = 0;  ///< by one worker

  int64_t total() const { return local + on_node + off_node; }
};
ReallocationVolume volume_of(const ReallocationPlan& plan,
                             const std::vector<int>& node_of_worker = {});

}  // namespace orrery::parallel
