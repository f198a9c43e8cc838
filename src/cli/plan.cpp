// `orrery plan`: what a run would be, without starting anything: no MPI, no data is read.
#include <algorithm>
#include <cstdio>
#include <iostream>

#include "commands.h"
#include "job.h"
#include "orrery/base/text.h"
#include "orrery/config/command_line.h"
#include "orrery/graph/communicators.h"
#include "orrery/graph/plan_text.h"
#include "orrery/model/parameter_table.h"

namespace orrery::cli {

namespace {

/// Bytes of a replica's shard: parameters, and if it is trained gradients and two moments.
int64_t shard_bytes(const Job& job, const graph::Replica& replica, int64_t n_parameters) {
  const int64_t width = job.experiment.find_model(replica.id.role)->dtype == "fp64" ? 8 : 4;
  return n_parameters * width * (replica.is_trained ? 4 : 1);
}

void print_memory(const Job& job, const std::vector<graph::Replica>& replicas) {
  std::cout << "\nparameters and memory per worker (without activations and samples)\n";
  for (int worker = 0; worker < job.n_workers; ++worker) {
    int64_t parameters = 0, bytes = 0;
    std::vector<std::string> roles;
    for (const graph::Replica& replica : replicas) {
      const auto known = job.architectures.find(replica.id.role);
      const std::vector<int>& workers = replica.layout.workers;
      if (known == job.architectures.end() ||
          std::find(workers.begin(), workers.end(), worker) == workers.end()) {
        continue;
      }
      const int64_t n = model::parameter_table(known->second).numel;
      parameters += n;
      bytes += shard_bytes(job, replica, n);
      roles.push_back(replica.id.text() + (replica.is_trained ? " (trained)" : ""));
    }
    std::cout << "  worker " << worker << ": " << parameters << " parameters, "
              << base::bytes_text(bytes) << (roles.empty() ? "" : ": " + base::join(roles, ", "))
              << "\n";
  }
}

}  // namespace

int run_plan(std::span<const std::string> arguments) {
  const config::PlanOptions options = config::parse_plan_options(arguments);
  if (options.help) {
    std::cout << "orrery plan CONFIG: prints what a run would be; starts nothing\n\n"
              << config::plan_options_help() << "\nconfiguration keys: orrery train --help\n";
    return 0;
  }
  const Job job = prepare_job(options.config, options.sets, options.workers, DataCheck::kLeaveOut);
  const std::vector<graph::Replica> replicas = graph::replicas_of(job.graph);
  std::cout << "experiment " << job.experiment.experiment.name << ": " << job.n_workers
            << " workers and a master (mpirun -n " << job.n_workers + 1 << "), "
            << job.graph.samples_per_step() << " samples a step\n\n"
            << graph::graph_text(job.graph) << "\nreplicas\n"
            << graph::replicas_text(job.graph, replicas) << "\nworkers\n"
            << graph::workers_table(replicas, job.n_workers) << "\ncommunicators\n"
            << graph::communicators_text(graph::plan_communicators(replicas, job.n_workers));
  const std::string hooks = graph::hooks_text(job.graph, {});
  if (!hooks.empty()) std::cout << "\nparameter hooks\n" << hooks;
  print_memory(job, replicas);
  return 0;
}

}  // namespace orrery::cli
