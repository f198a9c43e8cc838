#include "random_graph_for_test.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace orrery::master {

namespace {

size_t at(int index) { return static_cast<size_t>(index); }

graph::Layout random_layout(Random& random, int n_workers, int64_t n_seqs) {
  while (true) {
    graph::Layout layout{random.between(1, 3), random.between(1, 2), random.between(1, 2), {}};
    if (layout.size() > n_workers || layout.data > n_seqs) continue;
    layout.workers.resize(at(n_workers));
    std::iota(layout.workers.begin(), layout.workers.end(), 0);
    if (random.chance(70)) random.shuffle(layout.workers);
    layout.workers.resize(at(layout.size()));
    return layout;
  }
}

std::vector<graph::Call> random_calls(Random& random, int n_workers) {
  const std::vector<int> step_sizes = {2, 4, 6, 8, 12};
  const int n = step_sizes[at(random.between(0, 4))];
  std::vector<int> divisors;
  for (int d = 1; d <= n; ++d) {
    if (n % d == 0) divisors.push_back(d);
  }
  std::vector<std::string> known_keys = {"prompts", "answers"};
  std::map<std::string, bool> has_parameters;
  std::vector<graph::Call> calls;
  const int n_calls = random.between(2, 6);
  for (int i = 0; i < n_calls; ++i) {
    graph::Call call;
    call.name = "call" + std::to_string(i);
    call.role = "role" + std::to_string(random.between(0, 2));
    const auto [parameters, is_new] = has_parameters.try_emplace(call.role, random.chance(80));
    call.has_parameters = parameters->second;
    call.n_seqs =
        i == 0 ? n : divisors[at(random.between(0, static_cast<int>(divisors.size()) - 1))];
    call.layout = random_layout(random, n_workers, call.n_seqs);
    const bool trains = i >= n_calls - 2 && call.has_parameters && random.chance(80);
    call.kind = trains              ? graph::CallKind::kTrainStep
                : random.chance(50) ? graph::CallKind::kGenerate
                                    : graph::CallKind::kInference;
    for (const std::string& key : known_keys) {
      const bool from_data = key == "prompts" || key == "answers";
      if (random.chance(i == 0 && !from_data ? 0 : 40)) call.inputs.push_back({"in_" + key, key});
    }
    if (call.inputs.empty()) call.inputs.push_back({"x", known_keys.back()});
    if (!trains) {
      for (int k = random.between(1, 2); k > 0; --k) {
        known_keys.push_back(call.name + "_key" + std::to_string(k));
        call.outputs.push_back({"out", known_keys.back()});
      }
    } else if (random.chance(40)) {
      const std::string target = "role" + std::to_string(random.between(0, 2));
      if (target != call.role && has_parameters.contains(target) && has_parameters[target]) {
        call.post_realloc = target;
        call.eta = 0.5;
      }
    }
    calls.push_back(call);
  }
  random.shuffle(calls);  // the order of the list is no order of execution
  graph::number_replicas(calls);
  return calls;
}

/// Roles whose parameters come from another role must not be trained themselves, or what a call
/// should see depends on which of the two comes first.
bool targets_are_untrained(const std::vector<graph::Call>& calls) {
  for (const graph::Call& call : calls) {
    if (call.post_realloc.empty()) continue;
    for (const graph::Call& other : calls) {
      if (other.kind == graph::CallKind::kTrainStep && other.role == call.post_realloc)
        return false;
      if (&other != &call && other.post_realloc == call.post_realloc) return false;
    }
    if (std::none_of(calls.begin(), calls.end(),
                     [&](const graph::Call& other) { return other.role == call.post_realloc; })) {
      return false;
    }
  }
  return true;
}

}  // namespace

graph::Graph random_graph(Random& random, int n_workers) {
  while (true) {
    std::vector<graph::Call> calls = random_calls(random, n_workers);
    if (targets_are_untrained(calls) && graph::check_calls(calls).empty()) {
      return graph::Graph(calls);
    }
  }
}

}  // namespace orrery::master
