#include "job.h"

#include <algorithm>
#include <cereal/archives/binary.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>
#include <sstream>

#include "checks.h"
#include "data_checks.h"
#include "model_checks.h"
#include "origin_checks.h"
#include "orrery/algorithm/methods.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/text.h"
#include "orrery/master/step_clock.h"
#include "sampling_options.h"
#include "tokenizer_choice.h"

namespace orrery::cli {

namespace {

int workers_named(const config::Experiment& experiment) {
  int highest = 0;
  const auto look = [&](const std::string& text) {
    if (text.empty()) return;
    for (const int worker : graph::parse_layout(text).layout.workers) {
      highest = std::max(highest, worker);
    }
  };
  look(experiment.layout.default_layout);
  for (const auto& [name, call] : experiment.calls) look(call.layout);
  return highest + 1;
}

/// Steps until total_steps or total_epochs ends the run, whichever comes first; 0: neither does.
int64_t count_steps(const Job& job) {
  const config::ExperimentSection& section = job.experiment.experiment;
  int64_t steps = section.total_steps;
  // With dynamic sampling a step draws as much as it needs.
  const bool epochs_count_steps = !job.experiment.dynamic_sampling.enabled;
  if (epochs_count_steps && section.total_epochs > 0 && !job.indices.empty()) {
    const int64_t by_epochs = master::steps_of_epochs(
        section.total_epochs, job.graph.samples_per_step(), job.make_order().samples_per_epoch());
    steps = steps > 0 ? std::min(steps, by_epochs) : by_epochs;
  }
  return steps;
}

}  // namespace

std::vector<int> Job::training_places() const {
  const std::vector<std::string> training = graph::training_datasets(experiment);
  std::vector<int> places;
  for (size_t i = 0; i < experiment.datasets.size(); ++i) {
    const std::string& name = experiment.datasets[i].first;
    if (std::find(training.begin(), training.end(), name) != training.end()) {
      places.push_back(static_cast<int>(i));
    }
  }
  return places;
}

data::DataOrder Job::make_order() const {
  std::vector<data::OrderedDataset> datasets;
  for (const int place : training_places()) {
    const auto& [name, dataset] = experiment.datasets[static_cast<size_t>(place)];
    const data::DatasetIndex& index = indices[static_cast<size_t>(place)];
    datasets.push_back({.name = name,
                        .n_rows = index.n_rows(),
                        .weight = dataset.weight,
                        .fingerprint = index.fingerprint()});
  }
  const int64_t round =
      experiment.dynamic_sampling.enabled ? experiment.dynamic_sampling.groups_per_round : 0;
  return data::DataOrder(std::move(datasets),
                         {.seed = static_cast<uint64_t>(experiment.experiment.seed),
                          .samples_per_step = std::max(graph.samples_per_step(), round)});
}

std::vector<int> evaluating_calls(const Job& job) {
  std::vector<int> calls;
  const config::DatasetConfig* dataset =
      job.experiment.find_dataset(job.experiment.evaluate.dataset);
  if (dataset == nullptr) return calls;
  for (int i = 0; i < static_cast<int>(job.graph.size()); ++i) {
    const graph::Call& call = job.graph.call(i);
    const auto signature = algorithm::signature_of(call.interface, call.kind);
    if (signature &&
        std::count(signature->evaluates.begin(), signature->evaluates.end(), dataset->kind) > 0) {
      calls.push_back(i);
    }
  }
  return calls;
}

std::string Job::tokenizer() const {
  for (const auto& [role, model] : experiment.models) {
    if (!algorithm::only_reads_texts(experiment, role)) return model.tokenizer;
  }
  return "byte";
}

Job prepare_job(const std::string& config_file, const std::vector<std::string>& sets, int n_workers,
                DataCheck data_check) {
  const config::InterfaceSchemas schemas = algorithm::interface_schemas();
  config::LoadResult loaded = config::load_experiment(config_file, sets, schemas);
  Job job;
  job.experiment = std::move(loaded.experiment);
  job.warnings = std::move(loaded.notices);
  try {
    resolve_tokenizers(job.experiment);
  } catch (const OutputError& error) {  // what cannot be looked at is no missing tokenizer
    throw ConfigError(error.what());
  }
  job.n_workers = n_workers > 0 ? n_workers : workers_named(job.experiment);

  const size_t n_read = loaded.problems.size();
  Checks checks(job, std::move(loaded.problems));
  if (job.experiment.calls.empty()) config::throw_if_problems(checks.problems());
  check_uses(job, checks);
  algorithm::expand_methods(job.experiment, job.warnings);
  algorithm::inherit_options(job.experiment, checks.problems(), job.warnings);
  algorithm::check_calls(job.experiment, checks.problems(), job.warnings);
  job.graph = graph::build_graph(job.experiment, job.n_workers, checks.problems());
  check_models(job, checks);
  check_origins(job, checks);
  check_evaluation(job, checks);
  check_dynamic_sampling(job, checks);
  check_templates(job, checks);
  if (data_check != DataCheck::kLeaveOut) {
    read_data(job, checks,
              data_check == DataCheck::kReadLengths ? data::RecordNeeds::Lengths::kOfAll
                                                    : data::RecordNeeds::Lengths::kWhereNeeded);
    if (checks.problems().empty()) {
      checks.guard(base::concat("dataset.", graph::training_datasets(job.experiment).front()), [&] {
        job.n_steps = count_steps(job);
        job.make_order();
      });
    }
  }
  config::drop_consequences(checks.problems(), n_read);
  config::throw_if_problems(checks.problems());
  return job;
}

std::string pack_job(const Job& job) {
  std::ostringstream out;
  cereal::BinaryOutputArchive archive(out);
  archive(config::resolved_config(job.experiment, algorithm::interface_schemas()), job.indices,
          job.n_workers, job.n_steps);
  return std::move(out).str();
}

Job unpack_job(std::string bytes) {
  std::istringstream in(std::move(bytes));
  cereal::BinaryInputArchive archive(in);
  std::string text;
  Job job;
  archive(text, job.indices, job.n_workers, job.n_steps);
  config::LoadResult loaded =
      config::load_experiment_text(text, "config.cfg", algorithm::interface_schemas());
  config::throw_if_problems(loaded.problems);
  job.experiment = std::move(loaded.experiment);
  std::vector<config::Problem> problems;
  job.graph = graph::build_graph(job.experiment, job.n_workers, problems);
  config::throw_if_problems(problems);
  return job;
}

}  // namespace orrery::cli
