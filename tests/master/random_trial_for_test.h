// Random runs: a graph with layouts, hooks and batch sizes, and options of its dispatcher.
#pragma once

#include "orrery/data/data_order.h"
#include "orrery/master/dispatcher.h"
#include "random_graph_for_test.h"

namespace orrery::master {

constexpr int64_t kTrialSteps = 3;

struct Trial {
  graph::Graph graph;
  DispatcherOptions options;
};

/// The same for the same round and ORRERY_SEED. `n_workers` 0: drawn, 4 to 8.
Trial random_trial(int round, int n_workers = 0);

/// Rows for the graph's samples.
data::DataOrder order_for(const graph::Graph& graph);

}  // namespace orrery::master
