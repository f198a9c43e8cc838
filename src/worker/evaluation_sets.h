// The evaluation sets of an experiment as a worker takes part in them: which rows are its own, who
// rewards the answers, where they are written. Lives on the worker's main thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "orrery/algorithm/interface.h"
#include "orrery/config/experiment.h"
#include "orrery/data/dataset.h"

namespace orrery::worker {

/// Which part of a set is asked for, and by whom.
struct EvaluationPart {
  std::string set;
  std::string call;
  int64_t step = 0;
  int data_rank = 0;
  int data_size = 1;
};

class EvaluationSets {
 public:
  /// Makes the interfaces that reward answers. All arguments must outlive it.
  ///   datasets  in the order of the configuration
  /// Throws ConfigError as algorithm::make_interface.
  EvaluationSets(const config::Experiment& experiment,
                 const std::vector<std::unique_ptr<data::Dataset>>& datasets);
  ~EvaluationSets();

  /// The part's rows, read: data rank r takes r, r + n, ...; perhaps none.
  ///   folder  of the sets' answers
  /// Throws CallError for a set that the experiment lacks and what Dataset::read throws.
  algorithm::EvaluationInput input(const EvaluationPart& part, const std::filesystem::path& folder);

 private:
  struct Set;

  std::vector<Set> sets_;
};

}  // namespace orrery::worker
