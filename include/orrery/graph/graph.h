// The dataflow graph of one step: calls joined by the keys that one writes and another reads.
// Everything here follows from the list of calls alone and is computed once, when it is built.
// Pure; any rank, any thread. Calls are named by their index in calls().
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/base/index.h"
#include "orrery/config/experiment.h"
#include "orrery/config/load.h"  // config::Problem
#include "orrery/graph/call.h"

namespace orrery::graph {

/// `consumer` reads `keys` that `producer` writes.
struct Edge {
  int producer = 0;
  int consumer = 0;
  std::vector<std::string> keys = {};  ///< graph keys, in the consumer's input order
};

/// A mistake in the calls, with the configuration key to which it belongs.
struct GraphProblem {
  std::string key;  ///< `call.actor_gen.inputs`: the argument of Experiment::where()
  std::string text;
};

/// Every mistake of the calls themselves: same name twice, key produced twice or read twice by one
/// call, cycle, train_step that is no sink, two train_steps of one role, N = max n_seqs not
/// divisible by an n_seqs, fewer n_seqs than data ranks. Empty: Graph(calls) can be made. Local.
std::vector<GraphProblem> check_calls(const std::vector<Call>& calls);

class Graph {
 public:
  Graph() = default;
  /// Keeps Call::replica as given. Throws ConfigError with all of check_calls(calls).
  explicit Graph(std::vector<Call> calls);

  const std::vector<Call>& calls() const { return calls_; }
  const Call& call(int index) const { return calls_.at(base::index(index)); }
  int size() const { return static_cast<int>(calls_.size()); }
  /// Index of the call of that name, or -1.
  int find(std::string_view name) const;

  /// By producer, then by consumer.
  const std::vector<Edge>& edges() const { return edges_; }
  /// Producers of the call's inputs, in the order of the keys that they give first.
  const std::vector<int>& parents(int call) const { return parents_.at(base::index(call)); }
  /// Consumers of the call's outputs, ascending.
  const std::vector<int>& children(int call) const { return children_.at(base::index(call)); }
  /// All calls that depend on this one, depth first.
  std::vector<int> all_successors(int call) const;
  /// Generations: level = longest distance from a source. Calls of a level do not depend on each
  /// other; inside a level in graph order.
  const std::vector<std::vector<int>>& levels() const { return levels_; }
  /// Most calls of which none depends on another: how many could run at once.
  int max_concurrent_calls() const;

  /// Reads nothing that another call writes.
  bool is_source(int call) const { return parents(call).empty(); }
  /// Writes nothing that another call reads.
  bool is_sink(int call) const { return children(call).empty(); }
  std::vector<int> sources() const;

  /// Keys that no call writes, in the order in which they are first read: a dataset must give them.
  const std::vector<std::string>& dataset_keys() const { return dataset_keys_; }
  /// The call that writes `key`, or -1.
  int producer(std::string_view key) const;

  /// N: samples of one step, the largest n_seqs.
  int64_t samples_per_step() const;
  /// How often the call runs in a step, N / n_seqs.
  int64_t calls_per_step(int call) const;

 private:
  std::vector<Call> calls_;
  std::vector<Edge> edges_;
  std::vector<std::vector<int>> parents_, children_;
  std::vector<std::vector<int>> levels_;
  std::vector<std::string> dataset_keys_;
  std::map<std::string, int, std::less<>> producers_;
};

/// Sets Call::replica from the layouts: per role 0 for the layout of its train_step, else of its
/// first call; the other distinct layouts count up in graph order.
void number_replicas(std::vector<Call>& calls);

/// Numbers the replicas, then makes the graph. Throws ConfigError with all problems.
Graph build_graph(std::vector<Call> calls);

/// Dataset kind -> the keys that its samples carry.
using DatasetKinds = std::map<std::string, std::vector<std::string>, std::less<>>;

/// prompts -> packed_prompts, answers; completions -> packed_input_ids, prompt_mask.
const DatasetKinds& standard_dataset_kinds();

/// Names of the datasets that feed the graph: all but the one that evaluation alone uses.
std::vector<std::string> training_datasets(const config::Experiment& experiment);

/// The graph of an experiment's enabled calls on `n_workers` workers. Mistakes are appended to
/// `problems` with file and line, all of them; when there is any the returned graph is empty.
/// Local; meant for rank 0 before anything is allocated.
Graph build_graph(const config::Experiment& experiment, int n_workers,
                  std::vector<config::Problem>& problems);
Graph build_graph(const config::Experiment& experiment, int n_workers, const DatasetKinds& kinds,
                  std::vector<config::Problem>& problems);

}  // namespace orrery::graph
