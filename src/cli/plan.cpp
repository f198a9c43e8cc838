// `orrery plan`: what a run would be, without starting anything: no MPI, no weights are read.
#include "plan.h"

#include <iostream>
#include <sstream>

#include "commands.h"
#include "data_table.h"
#include "gpu_choices.h"
#include "gpu_memory_plan.h"
#include "memory_plan.h"
#include "node_memory.h"
#include "orrery/base/counted.h"
#include "orrery/base/text.h"
#include "orrery/config/command_line.h"
#include "orrery/graph/communicators.h"
#include "orrery/graph/plan_text.h"
#include "residency.h"
#include "sampling_options.h"

namespace orrery::cli {

namespace {

/// `stops after 150 steps or 3 epochs`: whichever comes first.
std::string end_text(const config::ExperimentSection& section) {
  std::vector<std::string> limits;
  if (section.total_steps > 0) limits.push_back(base::counted(section.total_steps, "step"));
  if (section.total_epochs > 0) limits.push_back(base::counted(section.total_epochs, "epoch"));
  if (section.total_seconds > 0) {
    limits.push_back(base::duration_text(std::chrono::duration<double>(section.total_seconds)));
  }
  return base::concat("stops after ", base::join(limits, " or "));
}

GpuMemory gpu_of(const config::PlanOptions& options) {
  return {.memory_gb = options.gpu_memory_gb,
          .allowances = {.context_gb = options.gpu_context_gb,
                         .cublas_gb = options.gpu_cublas_gb,
                         .nccl_gb = options.gpu_nccl_gb,
                         .graphs_gb = options.gpu_graphs_gb}};
}

}  // namespace

std::string plan_text(const Job& job, const std::optional<NodeMemory>& node) {
  const std::vector<graph::Replica> replicas = graph::replicas_of(job.graph);
  std::ostringstream out;
  out << "experiment " << job.experiment.experiment.name << ": "
      << base::counted(job.n_workers, "worker") << " and a master (mpirun -n " << job.n_workers + 1
      << "), " << end_text(job.experiment.experiment) << "\n\n"
      << graph::graph_text(job.graph) << "\nreplicas\n"
      << graph::replicas_text(job.graph, replicas) << "\nworkers\n"
      << graph::workers_table(replicas, job.n_workers) << "\ncommunicators\n"
      << graph::communicators_text(graph::plan_communicators(replicas, job.n_workers))
      << "\nparameter hooks\n"
      << graph::hooks_text(job.graph, residency_of(job));
  if (node) {
    const std::vector<WorkerMemory> memory = plan_memory(job);
    out << "\nparameters and memory of each worker, without activations and samples\n"
        << memory_text(memory) << fit_text(job, memory, *node);
  }
  out << sampling_plan_text(job);
  if (!job.indices.empty()) out << "\ndata sets\n" << data_table(job);
  if (!job.warnings.empty()) out << "\nwarnings\n";
  for (const config::Problem& warning : job.warnings) {
    out << "  " << warning.message() << "\n";
  }
  return std::move(out).str();
}

int run_plan(std::span<const std::string> arguments) {
  const config::PlanOptions options = config::parse_plan_options(arguments);
  if (options.help) {
    std::cout << "orrery plan CONFIG: prints what a run would be; starts nothing\n\n"
              << config::plan_options_help() << "\nconfiguration keys: orrery train --help\n";
    return 0;
  }
  Job job = prepare_job(options.config, options.sets, options.workers,
                        options.no_data ? DataCheck::kLeaveOut : DataCheck::kReadLengths);
  if (options.device == "cuda") {
    const GpuMemory gpu = gpu_of(options);
    const std::vector<std::string> choices = choose_for_gpus(job, gpu);
    std::cout << plan_text(job, std::nullopt) << "\n";
    for (const std::string& choice : choices) std::cout << choice << "\n";
    write_gpu_memory(job, gpu, std::cout);
    return 0;
  }
  std::cout << plan_text(
      job, options.memory_gb > 0
               ? NodeMemory{.bytes = static_cast<int64_t>(options.memory_gb * (1 << 30)),
                            .source = "--memory-gb"}
               : memory_of_this_machine());
  return 0;
}

}  // namespace orrery::cli
