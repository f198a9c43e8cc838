// What `orrery evaluate` has found: as a table for people and as evaluation.json. Rank 0.
#pragma once

#include <string>
#include <vector>

#include "job.h"
#include "orrery/master/step_report.h"

namespace orrery::cli {

class EvaluationResult {
 public:
  void add(const master::EvaluationReport& report) { reports_.push_back(report); }

  /// Rows of set, metric and value; of a field's values those last.
  std::string table(const Job& job) const;
  /// {"model": DIR, "seed": 1, "sets": [{"set", "dataset", "call", "metrics": {"accuracy": 0.5}}]}
  std::string json(const Job& job) const;

 private:
  std::vector<master::EvaluationReport> reports_;
};

}  // namespace orrery::cli
