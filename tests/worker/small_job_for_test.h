// The workers of a small job, which are threads here, with its models.
#pragma once

#include <string>
#include <vector>

#include "orrery/algorithm/registry.h"
#include "orrery/config/load.h"
#include "orrery/graph/communicators.h"
#include "orrery/worker/hosted_models.h"
#include "orrery/worker/model_device.h"
#include "orrery/worker/parameter_moves.h"
#include "support/thread_communicator.h"

namespace orrery::worker {

/// configs/ppo_tiny.cfg with changes.
struct SmallJob {
  int n_workers;
  config::Experiment experiment;
  graph::Graph graph;

  explicit SmallJob(const std::vector<std::string>& sets, int workers = 2) : n_workers(workers) {
    config::LoadResult loaded = config::load_experiment(ORRERY_SOURCE_DIR "/configs/ppo_tiny.cfg",
                                                        sets, algorithm::interface_schemas());
    experiment = std::move(loaded.experiment);
    graph = graph::build_graph(experiment, n_workers, loaded.problems);
    config::throw_if_problems(loaded.problems);
    for (auto& [role, model] : experiment.models) model.tokenizer = "byte";
  }

  /// Calls work(models, moves) on each worker.
  template <class Work>
  void run(const Work& work, c10::Device device = c10::kCPU) const {
    const std::vector<graph::Replica> replicas = graph::replicas_of(graph);
    comm::run_as_threads(n_workers, [&](comm::Communicator& all) {
      auto registry =
          comm::CommunicatorRegistry::create(group_for(device, all.split(0, all.rank(), "workers")),
                                             graph::plan_communicators(replicas, n_workers));
      HostedModels models(experiment, graph, all.rank(), 4, registry, device);
      ParameterMoves moves(replicas, std::vector<int>(static_cast<size_t>(n_workers), 0), models,
                           registry.workers());
      work(models, moves);
    });
  }
};

}  // namespace orrery::worker
