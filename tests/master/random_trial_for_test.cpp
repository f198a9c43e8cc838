#include "random_trial_for_test.h"

#include "orrery/graph/replica.h"

namespace orrery::master {

namespace {
constexpr int64_t kRows = 29;
}  // namespace

Trial random_trial(int round, int n_workers) {
  Random random(round);
  Trial trial;
  const int drawn = random.between(4, 8);
  trial.options.n_workers = n_workers > 0 ? n_workers : drawn;
  trial.graph = random_graph(random, trial.options.n_workers);
  trial.options.redistribution = static_cast<Pattern>(random.between(0, 2));
  for (int worker = 0; worker < trial.options.n_workers; ++worker) {
    trial.options.node_of_worker.push_back(worker / 3);
  }
  trial.options.stop.total_steps = kTrialSteps;
  trial.options.evaluate.sets.push_back(
      {.name = {}, .prefix = "eval/", .calls = {}, .measures = {}});
  for (int call = 0; call < trial.graph.size(); ++call) {
    if (trial.graph.call(call).kind == graph::CallKind::kTrainStep) {
      trial.options.evaluate.sets.front().calls.push_back(call);
      if (random.chance(50)) {
        trial.options.residency.offload_optimizer.insert(trial.graph.call(call).role);
      }
    } else if (random.chance(50)) {
      trial.options.residency.offload_when_idle.insert(trial.graph.call(call).role);
    }
  }
  trial.options.evaluate.frequency.every_steps = random.between(0, 2);
  trial.options.evaluate.at_start = random.chance(50);
  trial.options.evaluate.at_end = random.chance(50);
  trial.options.export_models.directory = "models";
  trial.options.export_models.at_end = random.chance(50);
  trial.options.checkpoint.directory = "checkpoints";
  trial.options.checkpoint.frequency.every_steps = random.between(0, 2);
  if (random.chance(50)) {
    trial.options.memory.worker_bytes = random.between(1, 3);
    for (const graph::Replica& replica : graph::replicas_of(trial.graph)) {
      trial.options.memory.shard_bytes[replica.id] = 1;
    }
  }
  return trial;
}

data::DataOrder order_for(const graph::Graph& graph) {
  return data::DataOrder({{.name = "rows", .n_rows = kRows}},
                         {.seed = 5, .samples_per_step = graph.samples_per_step()});
}

}  // namespace orrery::master
