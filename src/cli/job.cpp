#include "job.h"

#include <algorithm>
#include <cereal/archives/binary.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>
#include <filesystem>
#include <set>
#include <sstream>

#include "checks.h"
#include "data_checks.h"
#include "message_data.h"
#include "model_checks.h"
#include "origin_checks.h"
#include "orrery/algorithm/methods.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/file.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/master/step_clock.h"
#include "run_checks.h"
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

bool evaluates(const std::string& interface, graph::CallKind kind,
               const config::DatasetConfig& dataset) {
  const auto signature = algorithm::signature_of(interface, kind);
  return signature && std::any_of(signature->evaluates.begin(), signature->evaluates.end(),
                                  [&](config::DatasetKind one) { return dataset.is(one); });
}

/// Whether calls of this kind evaluate one of the sets.
bool evaluates_a_set(const config::Experiment& experiment, const std::string& interface,
                     graph::CallKind kind) {
  return std::any_of(
      experiment.datasets.begin(), experiment.datasets.end(), [&](const auto& dataset) {
        return experiment.is_evaluated(dataset.first) && evaluates(interface, kind, dataset.second);
      });
}

/// The graph's train_steps that evaluate one of the sets, as calls that hold the model; they stand
/// for a key that a call must read and are never run. Not of kind train_step: then there would be
/// an optimizer.
graph::Graph evaluating_graph(const graph::Graph& graph, const config::Experiment& experiment) {
  std::vector<graph::Call> calls;
  for (graph::Call call : graph.calls()) {
    if (!evaluates_a_set(experiment, call.interface, call.kind)) continue;
    call.kind = graph::CallKind::kInference;
    const std::string& key = graph.dataset_keys().front();
    call.inputs = {{.interface_key = key, .graph_key = key}};
    call.outputs.clear();
    call.post_realloc.clear();
    calls.push_back(std::move(call));
  }
  return graph::Graph(std::move(calls));
}

/// Roles whose train_steps evaluate.
std::vector<std::string> evaluated_roles(const config::Experiment& experiment) {
  std::vector<std::string> roles;
  for (const auto& [name, call] : experiment.calls) {
    if (!call.enabled || call.kind != "train_step") continue;
    const bool is_used = evaluates_a_set(experiment, call.interface, graph::CallKind::kTrainStep);
    if (is_used && std::find(roles.begin(), roles.end(), call.model) == roles.end()) {
      roles.push_back(call.model);
    }
  }
  return roles;
}

/// The experiment as one that evaluates `model`.
void set_model(config::Experiment& experiment, const ModelToEvaluate& model,
               std::vector<config::Problem>& problems) {
  if (!problems.empty()) return;  // whatever is said now may only follow from them
  const auto add = [&](const std::string& text) {
    problems.push_back(config::problem_of(experiment, "evaluate", text));
  };
  const auto add_argument = [&](const std::string& text) {
    const config::Position at = experiment.where("evaluate");
    problems.push_back({at.file, at.line, base::concat("orrery evaluate: ", text)});
  };
  experiment.experiment.name =
      model.run_name.empty() ? experiment.experiment.name + "-evaluation" : model.run_name;
  experiment.dynamic_sampling.enabled = false;
  if (const auto wrong = config::folder_name().problem(experiment.experiment.name)) {
    add_argument(base::concat("--name: ", *wrong));
    return;
  }
  const std::vector<std::string> roles = evaluated_roles(experiment);
  if (roles.empty()) {
    add("this experiment evaluates nothing: set evaluate.sets or evaluate.dataset, of a kind that "
        "one of its train_steps evaluates");
  }
  if (roles.size() > 1 && !model.directory.empty()) {
    add(base::concat("--model names one model, but the roles ", base::join(roles, ", "),
                     " are evaluated: give their directories as --set model.ROLE.path=DIR"));
    return;
  }
  for (auto& [role, config] : experiment.models) {
    if (std::find(roles.begin(), roles.end(), role) == roles.end()) continue;
    if (!model.directory.empty()) {
      const std::filesystem::path directory = std::filesystem::absolute(model.directory);
      if (!base::exists(directory)) {
        add_argument(base::concat("--model ", model.directory, ": no such folder"));
        return;
      }
      // An export of a run has a folder for each role.
      config.path = (base::exists(directory / role / "config.json") ? directory / role : directory)
                        .lexically_normal()
                        .string();
    }
    if (config.path.empty()) {
      add(base::concat("role ", role, " has no files: give --model DIR"));
    }
  }
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
    const auto& [name, dataset] = experiment.datasets[base::index(place)];
    const data::DatasetIndex& index = indices[base::index(place)];
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

std::vector<int> evaluating_calls(const Job& job, const config::EvaluationSet& set) {
  std::vector<int> calls;
  const config::DatasetConfig* dataset = job.experiment.find_dataset(set.options.dataset);
  if (dataset == nullptr) return calls;
  for (int i = 0; i < static_cast<int>(job.graph.size()); ++i) {
    const graph::Call& call = job.graph.call(i);
    const graph::CallKind kind = job.only_evaluates ? graph::CallKind::kTrainStep : call.kind;
    if (evaluates(call.interface, kind, *dataset)) calls.push_back(i);
  }
  return calls;
}

std::string Job::tokenizer() const {
  for (const auto& [role, model] : experiment.models) {
    if (!algorithm::only_reads_texts(experiment, role)) return model.tokenizer;
  }
  return "byte";
}

namespace {

/// What several sets take from one key is said once.
void drop_repeated(std::vector<config::Problem>& problems) {
  std::set<std::string> said;
  std::erase_if(problems, [&](const config::Problem& problem) {
    return !said.insert(problem.message()).second;
  });
}

///   evaluated  null: the experiment trains
Job prepare(const std::string& config_file, const std::vector<std::string>& sets, int n_workers,
            DataCheck data_check, const ModelToEvaluate* evaluated) {
  const config::InterfaceSchemas schemas = algorithm::interface_schemas();
  config::LoadResult loaded = config::load_experiment(config_file, sets, schemas);
  Job job;
  job.experiment = std::move(loaded.experiment);
  job.warnings = std::move(loaded.notices);
  job.only_evaluates = evaluated != nullptr;
  if (evaluated != nullptr) set_model(job.experiment, *evaluated, loaded.problems);
  try {
    resolve_tokenizers(job.experiment, job.warnings);
  } catch (const OutputError& error) {  // what cannot be looked at is no missing tokenizer
    throw ConfigError(error.what());
  }
  job.n_workers = n_workers > 0 ? n_workers : workers_named(job.experiment);

  const size_t n_read = loaded.problems.size();
  Checks checks(job, std::move(loaded.problems));
  if (job.experiment.calls.empty()) config::throw_if_problems(checks.problems());
  resolve_messages(job.experiment, checks.problems());
  check_uses(job, checks);
  algorithm::expand_methods(job.experiment, job.warnings);
  algorithm::inherit_options(job.experiment, checks.problems(), job.warnings);
  algorithm::check_calls(job.experiment, checks.problems(), job.warnings);
  job.graph = graph::build_graph(job.experiment, job.n_workers, checks.problems());
  if (job.only_evaluates && checks.problems().empty()) {
    job.graph = evaluating_graph(job.graph, job.experiment);
  }
  check_models(job, checks);
  check_origins(job, checks);
  check_evaluation(job, checks);
  if (!job.only_evaluates) check_dynamic_sampling(job, checks);
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
  if (!job.only_evaluates && checks.problems().empty()) check_run(job, checks);
  config::drop_consequences(checks.problems(), n_read);
  drop_repeated(checks.problems());
  drop_repeated(job.warnings);
  config::throw_if_problems(checks.problems());
  return job;
}

}  // namespace

Job prepare_job(const std::string& config_file, const std::vector<std::string>& sets, int n_workers,
                DataCheck data_check) {
  return prepare(config_file, sets, n_workers, data_check, nullptr);
}

Job prepare_evaluation(const std::string& config_file, const std::vector<std::string>& sets,
                       int n_workers, const ModelToEvaluate& model) {
  return prepare(config_file, sets, n_workers, DataCheck::kRead, &model);
}

std::string pack_job(const Job& job) {
  std::ostringstream out;
  cereal::BinaryOutputArchive archive(out);
  archive(config::resolved_config(job.experiment, algorithm::interface_schemas()), job.indices,
          job.n_workers, job.n_steps, job.only_evaluates);
  return std::move(out).str();
}

Job unpack_job(std::string bytes) {
  std::istringstream in(std::move(bytes));
  cereal::BinaryInputArchive archive(in);
  std::string text;
  Job job;
  archive(text, job.indices, job.n_workers, job.n_steps, job.only_evaluates);
  config::LoadResult loaded =
      config::load_experiment_text(text, "config.cfg", algorithm::interface_schemas());
  config::throw_if_problems(loaded.problems);
  job.experiment = std::move(loaded.experiment);
  std::vector<config::Problem> problems;
  job.graph = graph::build_graph(job.experiment, job.n_workers, problems);
  config::throw_if_problems(problems);
  if (job.only_evaluates) job.graph = evaluating_graph(job.graph, job.experiment);
  return job;
}

}  // namespace orrery::cli
