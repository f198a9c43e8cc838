// Where a run's time went: seconds of each call and phase, added up over its steps, as a table for
// the end of the log. Pure. Rank 0; an object belongs to one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/master/step_report.h"

namespace orrery::cli {

class TimeTable {
 public:
  void add(const master::StepReport& report);
  void add(const master::EvaluationReport& report);
  /// Exports only: checkpoints are written in the background.
  void add(const master::SaveReport& report);

  /// Of a phase the seconds of its slowest worker, of a call (`all`) those from dispatch to the
  /// last reply, each with its share of `seconds`, the time since the run (or its resumed part)
  /// began. The column `all` adds up to it: what was done at the same time is taken off again.
  std::string text(double seconds) const;

 private:
  struct Row {
    std::string name;
    double pre = 0;
    double main = 0;
    double post = 0;
    double all = 0;
  };
  /// Work between steps. What several calls do after one step happens at the same time.
  struct Between {
    int64_t step = -1;
    double of_step = 0;
    double all = 0;

    void add(int64_t at_step, double seconds);
  };

  Row& row_of(std::string_view name);

  std::vector<Row> rows_;  // in order of first appearance
  Between evaluation_;
  Between export_;
  int64_t n_steps_ = 0;
  double steps_ = 0;
};

}  // namespace orrery::cli
