// Everything that is known about a run before it starts: made and checked on rank 0, sent to all
// ranks, the same everywhere. Nothing is allocated before all checks have passed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "orrery/config/experiment.h"
#include "orrery/config/load.h"
#include "orrery/data/data_order.h"
#include "orrery/data/dataset_index.h"
#include "orrery/graph/graph.h"
#include "orrery/model/architecture.h"

namespace orrery::cli {

struct Job {
  config::Experiment experiment;
  graph::Graph graph;
  std::map<std::string, model::Architecture> architectures;  ///< of roles with parameters
  std::vector<data::DatasetIndex> indices;  ///< of every data set, in the configuration's order
  /// Of each evaluation set in order: how many of its prompts are trained on as well. Rank 0 only.
  std::vector<int64_t> n_in_training;
  /// Nothing is trained: the graph is its evaluating calls alone, which are never run.
  bool only_evaluates = false;
  int n_workers = 1;
  int64_t n_steps = 0;  ///< of the run, if steps or epochs limit it; else 0
  /// What may be meant but is worth a look, each with its key. Rank 0 only: `plan` prints them, a
  /// run logs them once its directory is there.
  std::vector<config::Problem> warnings;

  /// Places of the training data sets in the configuration, and so in `indices`.
  std::vector<int> training_places() const;
  /// The order of the training data; its data set number i is training_places()[i].
  data::DataOrder make_order() const;
  /// Name of the tokenizer of all data sets.
  std::string tokenizer() const;
};

/// How far data sets are looked into.
enum class DataCheck {
  kRead,
  kReadLengths,  ///< also counts the tokens of every record: DatasetIndex::summary()
  kLeaveOut
};

/// Reads and checks everything: configuration, graph, interfaces, models, layouts, data. Throws one
/// ConfigError that lists all problems. Rank 0 only.
///   n_workers  0: as many as the layouts name, at least 1
Job prepare_job(const std::string& config_file, const std::vector<std::string>& sets, int n_workers,
                DataCheck data_check);

/// What is evaluated without training.
struct ModelToEvaluate {
  std::string directory;  ///< a model's, or a run's export; empty: the configuration's
  std::string run_name;   ///< empty: experiment.name with -evaluation
};

/// The same job, but all that it does is to evaluate. Throws as prepare_job, also for an experiment
/// that evaluates nothing or no model with files. Rank 0 only.
Job prepare_evaluation(const std::string& config_file, const std::vector<std::string>& sets,
                       int n_workers, const ModelToEvaluate& model);

/// The calls whose interfaces evaluate the set, by place in the graph.
std::vector<int> evaluating_calls(const Job& job, const config::EvaluationSet& set);

/// The job as bytes, and back on another rank.
std::string pack_job(const Job& job);
Job unpack_job(std::string bytes);

}  // namespace orrery::cli
