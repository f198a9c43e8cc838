#include "memory_plan.h"

#include <algorithm>

#include "generation_load.h"
#include "orrery/base/index.h"
#include "orrery/base/table.h"
#include "orrery/base/text.h"
#include "orrery/graph/layout.h"  // workers_text
#include "orrery/graph/replica.h"
#include "orrery/graph/topology.h"
#include "orrery/model/parameter_table.h"
#include "orrery/parallel/gradient_reduction.h"  // owned_partition

namespace orrery::cli {

namespace {

/// Bytes of a number that is computed with.
int64_t width_of(const config::ModelConfig& model) { return model.dtype == "fp64" ? 8 : 4; }

/// Bytes of a parameter: of bf16 ones there is a widened copy.
int64_t parameter_width(const config::ModelConfig& model) {
  return model.dtype == "bf16" ? 2 + 4 : width_of(model);
}

/// Numbers of the weights that generation keeps in its own order: all matrices, and the head also
/// where it is the embedding. `a` of the model, `table` of the shard.
int64_t packed_numbers(const model::Architecture& a, const model::ShardPlace& place,
                       const model::ParameterTable& table) {
  int64_t numbers = 0;
  if (place.is_last_stage()) {
    numbers = model::vocabulary_of(a.vocab_size, place).count * a.hidden_size;
  }
  for (const model::ParameterSpec& parameter : table.parameters) {
    const bool is_end = parameter.layer == 0 || parameter.layer == a.n_layers + 1;
    if (parameter.shape.size() == 2 && !is_end) numbers += parameter.numel;
  }
  return numbers;
}

/// The generations that run on a replica: those of its generate calls, and the evaluations of its
/// train step.
std::vector<GenerationLoad> loads_of(const Job& job, const graph::Replica& replica) {
  std::vector<GenerationLoad> loads;
  for (const int index : replica.calls) {
    if (const auto load = generation_load_of(job, job.graph.call(index))) loads.push_back(*load);
  }
  for (const config::EvaluationSet& set : job.experiment.evaluation_sets) {
    const config::EvaluationSetConfig& options = set.options;
    const config::DatasetConfig* dataset = job.experiment.find_dataset(options.dataset);
    if (!replica.is_trained || dataset == nullptr || !dataset->is(config::DatasetKind::kPrompts))
      continue;
    GenerationLoad load{.group_size = options.samples,
                        .max_batch = options.max_batch,
                        .max_prompt_tokens = dataset->max_prompt_tokens,
                        .max_new_tokens = options.max_new_tokens};
    load.n_prompts = 2 * load.max_batch + 1;  // as many as can matter: the data is not read
    if (options.max_prompts > 0) {
      load.n_prompts =
          std::min(load.n_prompts, divide_up(options.max_prompts, replica.layout.data));
    }
    loads.push_back(load);
  }
  return loads;
}

/// The columns of a worker.
base::TableRow cells(const WorkerMemory& worker) {
  return {std::to_string(worker.n_parameters), base::bytes_text(worker.parameter_bytes),
          base::bytes_text(worker.training_bytes), base::bytes_text(worker.generation_bytes),
          worker.replicas.empty() ? std::string("-") : base::join(worker.replicas, ", ")};
}

}  // namespace

std::vector<WorkerMemory> plan_memory(const Job& job) {
  std::vector<WorkerMemory> workers(static_cast<size_t>(job.n_workers));
  for (const graph::Replica& replica : graph::replicas_of(job.graph)) {
    const auto known = job.architectures.find(replica.id.role);
    if (known == job.architectures.end()) continue;  // a role without parameters
    const config::ModelConfig& config = *job.experiment.find_model(replica.id.role);
    const int64_t width = width_of(config);
    const std::vector<GenerationLoad> loads = loads_of(job, replica);
    const graph::Topology topology = graph::topology_of(replica.layout);
    for (int rank = 0; rank < topology.size(); ++rank) {
      const graph::Coordinate at = topology.coordinate(rank);
      const model::ShardPlace place = {at.pipe, replica.layout.pipe, at.tensor,
                                       replica.layout.tensor};
      const model::ParameterTable table = model::parameter_table(known->second, place);
      const model::Architecture local = model::shard_architecture(known->second, place);
      WorkerMemory& worker =
          workers.at(static_cast<size_t>(replica.layout.workers[base::index(rank)]));
      worker.replicas.push_back(
          base::concat(replica.id.text(), replica.is_trained ? " (trained)" : ""));
      worker.n_parameters += table.numel;
      worker.parameter_bytes += table.numel * parameter_width(config);
      if (replica.is_trained) {
        // Gradients of the shard, and the optimizer's state of the partition that this rank owns.
        const int64_t owned =
            parallel::owned_partition(table.numel, at.data, replica.layout.data).count;
        const int64_t moment_width = config.moments_dtype == "bf16" ? 2 : width;
        const int64_t gradient_width = config.gradient_dtype == "bf16" ? 2 : width;
        worker.training_bytes += table.numel * gradient_width + owned * 2 * moment_width;
        if (config.dtype == "bf16") worker.training_bytes += owned * width;  // master weights
      }
      // One call runs at a time.
      for (const GenerationLoad& load : loads) {
        const int64_t numbers =
            packed_numbers(known->second, place, table) + page_numbers(local, load);
        worker.generation_bytes = std::max(worker.generation_bytes, numbers * width);
      }
    }
  }
  return workers;
}

std::string memory_text(const std::vector<WorkerMemory>& workers) {
  std::vector<base::TableRow> rows;
  for (size_t first = 0; first < workers.size();) {
    std::vector<int> equal;
    const base::TableRow row = cells(workers[first]);
    for (; first < workers.size() && cells(workers[first]) == row; ++first) {
      equal.push_back(static_cast<int>(first));
    }
    rows.push_back({graph::workers_text(equal)});
    rows.back().insert(rows.back().end(), row.begin(), row.end());
  }
  return base::table_text(
      {"workers", "parameters", "memory", "+ training", "+ generating, up to", "replicas"}, rows);
}

}  // namespace orrery::cli
