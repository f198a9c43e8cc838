// The graph, its layouts and its communicators as text for people: what `orrery plan` prints.
// Pure; any rank, any thread.
#pragma once

#include <string>
#include <vector>

#include "orrery/graph/communicators.h"
#include "orrery/graph/graph.h"
#include "orrery/graph/replica.h"

namespace orrery::graph {

/// Levels from top to bottom, each call in a box with kind, interface, layout and runs per step,
/// below it its incoming edges with their keys.
std::string graph_text(const Graph& graph);

/// One line a replica: name, layout, where its parameters come from, the calls that use it.
std::string replicas_text(const Graph& graph, const std::vector<Replica>& replicas);

/// One line a call that has any: hooks before and after it.
std::string hooks_text(const Graph& graph, const ResidencyPolicy& policy);

/// One line a worker: the shard it holds of every replica.
std::string workers_table(const std::vector<Replica>& replicas, int n_workers);

/// One line a group, with the split that makes it and all its names.
std::string communicators_text(const CommunicatorPlan& plan);

}  // namespace orrery::graph
