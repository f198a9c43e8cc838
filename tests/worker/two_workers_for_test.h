// Two workers, which are threads here, with the models of a small job.
#pragma once

#include <string>
#include <vector>

#include "orrery/algorithm/registry.h"
#include "orrery/config/load.h"
#include "orrery/graph/communicators.h"
#include "orrery/worker/hosted_models.h"
#include "orrery/worker/parameter_moves.h"
#include "support/thread_communicator.h"

namespace orrery::worker {

/// configs/ppo_tiny.cfg on two workers, with changes.
struct TwoWorkers {
  config::Experiment experiment;
  graph::Graph graph;

  explicit TwoWorkers(const std::vector<std::string>& sets) {
    config::LoadResult loaded = config::load_experiment(ORRERY_SOURCE_DIR "/configs/ppo_tiny.cfg",
                                                        sets, algorithm::interface_schemas());
    experiment = std::move(loaded.experiment);
    graph = graph::build_graph(experiment, 2, loaded.problems);
    config::throw_if_problems(loaded.problems);
    for (auto& [role, model] : experiment.models) model.tokenizer = "byte";
  }

  /// Calls work(models, moves) on both workers.
  template <class Work>
  void run(const Work& work) const {
    const std::vector<graph::Replica> replicas = graph::replicas_of(graph);
    comm::run_as_threads(2, [&](comm::Communicator& all) {
      auto registry = comm::CommunicatorRegistry::create(all.split(0, all.rank(), "workers"),
                                                         graph::plan_communicators(replicas, 2));
      HostedModels models(experiment, graph, all.rank(), 4, registry);
      ParameterMoves moves(replicas, {0, 0}, models, registry.workers());
      work(models, moves);
    });
  }
};

}  // namespace orrery::worker
