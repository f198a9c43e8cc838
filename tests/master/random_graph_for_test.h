// Random dataflow graphs with layouts, hooks and batch sizes, for whole runs of the dispatcher.
#pragma once

#include "orrery/graph/graph.h"
#include "random_for_test.h"

namespace orrery::master {

/// A valid graph on workers 0..n_workers-1: two to six calls, some train_steps, layouts that
/// overlap or not, calls of one role in several layouts.
graph::Graph random_graph(Random& random, int n_workers);

}  // namespace orrery::master
