#include "orrery/master/call_facts.h"

#include <algorithm>

#include "orrery/base/index.h"
#include "orrery/graph/topology.h"

namespace orrery::master {

namespace {

std::vector<int> numbers_of(const std::vector<config::KeyBinding>& bindings, KeyTable& keys) {
  std::vector<int> numbers;
  for (const config::KeyBinding& binding : bindings) {
    const int key = keys.intern(binding.graph_key);
    if (std::find(numbers.begin(), numbers.end(), key) == numbers.end()) numbers.push_back(key);
  }
  return numbers;
}

comm::RequestKind request_kind_of(graph::CallKind kind) {
  switch (kind) {
    case graph::CallKind::kGenerate:
      return comm::RequestKind::kGenerate;
    case graph::CallKind::kInference:
      return comm::RequestKind::kInference;
    case graph::CallKind::kTrainStep:
      return comm::RequestKind::kTrainStep;
  }
  return comm::RequestKind::kEmpty;
}

}  // namespace

CallFacts facts_of(const graph::Graph& graph, int call, KeyTable& keys) {
  const graph::Call& source = graph.call(call);
  const graph::Topology topology = graph::topology_of(source.layout);
  CallFacts facts;
  facts.index = call;
  facts.name = source.name;
  facts.kind = source.kind;
  facts.request_kind = request_kind_of(source.kind);
  facts.n_seqs = source.n_seqs;
  facts.workers = source.layout.workers;
  facts.group_workers.resize(static_cast<size_t>(source.layout.data));
  for (int rank = 0; rank < topology.size(); ++rank) {
    const int data = topology.coordinate(rank).data;
    facts.data_rank.push_back(data);
    facts.group_workers[base::index(data)].push_back(facts.workers[base::index(rank)]);
  }
  facts.head_ranks = topology.dp_heads();
  facts.input_keys = numbers_of(source.inputs, keys);
  facts.output_keys = numbers_of(source.outputs, keys);
  return facts;
}

}  // namespace orrery::master
