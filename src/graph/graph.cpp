#include "orrery/graph/graph.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/index.h"
#include "orrery/base/text.h"  // concat

namespace orrery::graph {

namespace {

std::map<std::string, int, std::less<>> producers_of(const std::vector<Call>& calls) {
  std::map<std::string, int, std::less<>> producers;
  for (size_t i = 0; i < calls.size(); ++i) {
    for (const config::KeyBinding& output : calls[i].outputs) {
      producers.emplace(output.graph_key, static_cast<int>(i));
    }
  }
  return producers;
}

/// Largest set of calls without a path between any two. A set of paths that covers all calls has at
/// least that many, and the smallest cover has exactly as many (Dilworth); the smallest cover of
/// the transitive closure is size - largest matching of "before" with "after".
int largest_antichain(const std::vector<std::vector<int>>& successors) {
  const size_t n = successors.size();
  std::vector<int> matched_to(n, -1);
  std::vector<bool> visited;
  const std::function<bool(int)> augment = [&](int from) {
    for (int to : successors[base::index(from)]) {
      const size_t t = static_cast<size_t>(to);
      if (visited[t]) continue;
      visited[t] = true;
      if (matched_to[t] < 0 || augment(matched_to[t])) {
        matched_to[t] = from;
        return true;
      }
    }
    return false;
  };
  int matching = 0;
  for (size_t from = 0; from < n; ++from) {
    visited.assign(n, false);
    if (augment(static_cast<int>(from))) ++matching;
  }
  return static_cast<int>(n) - matching;
}

}  // namespace

Graph::Graph(std::vector<Call> calls) : calls_(std::move(calls)) {
  const std::vector<GraphProblem> problems = check_calls(calls_);
  if (!problems.empty()) {
    std::string all;
    for (const GraphProblem& problem : problems) {
      all += base::concat(all.empty() ? "" : "; ", problem.key, ": ", problem.text);
    }
    throw ConfigError(base::concat("the calls do not form a graph: ", all),
                      {.expected = "calls joined by keys without cycles",
                       .got = base::counted(problems.size(), "problem"),
                       .advice = "see the keys named above"});
  }
  producers_ = producers_of(calls_);

  const size_t n = calls_.size();
  parents_.resize(n);
  children_.resize(n);
  std::map<std::pair<int, int>, std::vector<std::string>> keys;  // ordered as edges() promises
  for (size_t i = 0; i < n; ++i) {
    const int consumer = static_cast<int>(i);
    for (const config::KeyBinding& input : calls_[i].inputs) {
      const int from = producer(input.graph_key);
      if (from < 0) {
        if (std::find(dataset_keys_.begin(), dataset_keys_.end(), input.graph_key) ==
            dataset_keys_.end()) {
          dataset_keys_.push_back(input.graph_key);
        }
        continue;
      }
      std::vector<std::string>& edge = keys[{from, consumer}];
      if (edge.empty()) {
        parents_[i].push_back(from);
        children_[base::index(from)].push_back(consumer);
      }
      edge.push_back(input.graph_key);
    }
  }
  for (auto& [ends, edge_keys] : keys) {
    edges_.push_back({ends.first, ends.second, std::move(edge_keys)});
  }

  // Longest distance from a source. Each round settles at least one more level.
  std::vector<int> level(n, 0);
  for (size_t round = 0; round < n; ++round) {
    for (const Edge& edge : edges_) {
      int& to = level[base::index(edge.consumer)];
      to = std::max(to, level[base::index(edge.producer)] + 1);
    }
  }
  for (size_t i = 0; i < n; ++i) {
    const size_t l = static_cast<size_t>(level[i]);
    if (levels_.size() <= l) levels_.resize(l + 1);
    levels_[l].push_back(static_cast<int>(i));
  }
}

int Graph::find(std::string_view name) const {
  for (size_t i = 0; i < calls_.size(); ++i) {
    if (calls_[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

std::vector<int> Graph::all_successors(int call) const {
  std::vector<int> found;
  std::vector<bool> visited(calls_.size(), false);
  const std::function<void(int)> visit = [&](int from) {
    for (int child : children(from)) {
      if (visited[base::index(child)]) continue;
      visited[base::index(child)] = true;
      found.push_back(child);
      visit(child);
    }
  };
  visit(call);
  return found;
}

int Graph::max_concurrent_calls() const {
  std::vector<std::vector<int>> successors;
  for (int i = 0; i < size(); ++i) successors.push_back(all_successors(i));
  return largest_antichain(successors);
}

std::vector<int> Graph::sources() const {
  std::vector<int> found;
  for (int i = 0; i < size(); ++i) {
    if (is_source(i)) found.push_back(i);
  }
  return found;
}

int Graph::producer(std::string_view key) const {
  const auto found = producers_.find(key);
  return found == producers_.end() ? -1 : found->second;
}

int64_t Graph::samples_per_step() const {
  int64_t largest = 0;
  for (const Call& call : calls_) largest = std::max(largest, call.n_seqs);
  return largest;
}

int64_t Graph::calls_per_step(int index) const { return samples_per_step() / call(index).n_seqs; }

void number_replicas(std::vector<Call>& calls) {
  std::map<std::string, std::vector<Layout>> layouts;  // by role, index = replica
  for (const Call& call : calls) {
    if (call.kind == CallKind::kTrainStep) layouts.emplace(call.role, std::vector{call.layout});
  }
  for (Call& call : calls) {
    std::vector<Layout>& known = layouts[call.role];
    const auto found = std::find(known.begin(), known.end(), call.layout);
    call.replica = static_cast<int>(found - known.begin());
    if (found == known.end()) known.push_back(call.layout);
  }
}

Graph build_graph(std::vector<Call> calls) {
  number_replicas(calls);
  return Graph(std::move(calls));
}

}  // namespace orrery::graph
