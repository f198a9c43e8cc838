// What GPUs held in a run beside what `orrery plan` foretells, for the end of the log. Rank 0; an
// object belongs to one thread.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "job.h"
#include "orrery/master/step_report.h"

namespace orrery::cli {

class MeasuredMemory {
 public:
  void add(const master::StepReport& report);

  /// One line for each call, and one for moving parameters, of the worker whose peak is farthest
  /// from the plan. Empty: the run computed on CPUs.
  std::string text(const Job& job) const;

 private:
  std::map<std::pair<std::string, int>, comm::MemoryRecord> most_;  // by phase and worker
};

}  // namespace orrery::cli
