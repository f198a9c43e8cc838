// Stops a run in time: a batch job that is killed at its limit loses all steps since its last
// checkpoint, one that stops before goes on where it was. Also an observer, to learn how long steps
// and checkpoints take. Rank 0, main thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>

#include "orrery/master/step_loop.h"

namespace orrery::cli {

class TimeLimit final : public master::StepObserver {
 public:
  using Clock = std::function<double()>;  ///< seconds since 1970

  /// `end` in seconds since 1970; 0: no limit. All reports go on to `next`.
  TimeLimit(double end, master::StepObserver& next, Clock clock);

  /// Whether the next step and a checkpoint might not fit in what is left: twice the longest of the
  /// last steps, twice the longest checkpoint, and kMargin.
  bool is_near() const;

  static constexpr double kMarginSeconds = 20;

  void on_step(const master::StepReport& report) override;
  void on_evaluation(const master::EvaluationReport& report) override;
  void on_save(const master::SaveReport& report) override;
  void on_finish(const master::FinishReport& report) override;

 private:
  double end_;
  master::StepObserver& next_;
  Clock clock_;
  std::deque<double> steps_;  // seconds of the last of them
  double checkpoint_ = 0;     // seconds of the longest
};

/// SLURM_JOB_END_TIME, or 0 where it is not set.
double end_of_slurm_job();

}  // namespace orrery::cli
