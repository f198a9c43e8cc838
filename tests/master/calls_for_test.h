// The smallest graph with all kinds of calls: generation, reward, training of one actor.
#pragma once

#include <string>
#include <vector>

#include "orrery/data/data_order.h"
#include "orrery/graph/graph.h"

namespace orrery::master {

struct GrpoLayouts {
  std::string generate = "d1t1p1@0";
  std::string reward = "d1t1p1@0";
  std::string train = "d1t1p1@0";
  int64_t n_seqs = 4;
};

inline graph::Graph grpo_graph(const GrpoLayouts& layouts) {
  graph::Call generate;
  generate.name = "actor_gen";
  generate.kind = graph::CallKind::kGenerate;
  generate.role = "actor";
  generate.inputs = {{"prompts", "packed_prompts"}};
  generate.outputs = {{"ids", "packed_input_ids"}};
  generate.layout = graph::Layout::parse(layouts.generate);
  graph::Call reward;
  reward.name = "reward";
  reward.kind = graph::CallKind::kInference;
  reward.role = "rule";
  reward.has_parameters = false;
  reward.inputs = {{"ids", "packed_input_ids"}};
  reward.outputs = {{"rewards", "rewards"}};
  reward.layout = graph::Layout::parse(layouts.reward);
  graph::Call train;
  train.name = "actor_train";
  train.kind = graph::CallKind::kTrainStep;
  train.role = "actor";
  train.inputs = {{"ids", "packed_input_ids"}, {"rewards", "rewards"}};
  train.layout = graph::Layout::parse(layouts.train);
  std::vector<graph::Call> calls = {generate, reward, train};
  for (graph::Call& call : calls) call.n_seqs = layouts.n_seqs;
  graph::number_replicas(calls);
  return graph::Graph(calls);
}

inline data::DataOrder order_of(int64_t n_rows, int64_t samples_per_step) {
  return data::DataOrder({{.name = "rows", .n_rows = n_rows}},
                         {.seed = 5, .samples_per_step = samples_per_step});
}

}  // namespace orrery::master
