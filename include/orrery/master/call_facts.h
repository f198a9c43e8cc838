// What dispatching needs to know of a call, looked up once: its workers by rank and by data rank,
// its heads, its keys as numbers. Pure; main thread of the master.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "orrery/base/index.h"
#include "orrery/comm/message.h"  // RequestKind
#include "orrery/graph/graph.h"
#include "orrery/master/key_table.h"

namespace orrery::master {

struct CallFacts {
  int index = 0;  ///< in the graph
  std::string name;
  graph::CallKind kind = graph::CallKind::kInference;
  comm::RequestKind request_kind = comm::RequestKind::kInference;
  int64_t n_seqs = 0;
  std::vector<int> workers;                     ///< [ranks]
  std::vector<int> data_rank;                   ///< [ranks]
  std::vector<std::vector<int>> group_workers;  ///< [data ranks] its workers, in rank order
  std::vector<int> head_ranks;                  ///< [data ranks]
  std::vector<int> input_keys;                  ///< graph keys, in the call's order, each once
  std::vector<int> output_keys;

  int data_size() const { return static_cast<int>(group_workers.size()); }
  int head_worker(int data) const {
    return workers[static_cast<size_t>(head_ranks[base::index(data)])];
  }
  bool is_head(int rank) const {
    return head_ranks[static_cast<size_t>(data_rank[base::index(rank)])] == rank;
  }
};

/// Facts of a call of `graph`; its keys get numbers in `keys`. Local.
CallFacts facts_of(const graph::Graph& graph, int call, KeyTable& keys);

}  // namespace orrery::master
