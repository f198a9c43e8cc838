#include "time_limit.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace orrery::cli {

namespace {
constexpr size_t kSteps = 16;
}

TimeLimit::TimeLimit(double end, master::StepObserver& next, Clock clock)
    : end_(end), next_(next), clock_(std::move(clock)) {}

bool TimeLimit::is_near() const {
  if (end_ <= 0) return false;
  const double step = steps_.empty() ? 0 : *std::max_element(steps_.begin(), steps_.end());
  return clock_() + 2 * step + 2 * checkpoint_ + kMarginSeconds > end_;
}

void TimeLimit::on_step(const master::StepReport& report) {
  steps_.push_back(report.seconds);
  if (steps_.size() > kSteps) steps_.pop_front();
  next_.on_step(report);
}

void TimeLimit::on_evaluation(const master::EvaluationReport& report) {
  next_.on_evaluation(report);
}

void TimeLimit::on_save(const master::SaveReport& report) {
  checkpoint_ = std::max(checkpoint_, report.seconds);
  next_.on_save(report);
}

void TimeLimit::on_finish(const master::FinishReport& report) { next_.on_finish(report); }

double end_of_slurm_job() {
  const char* const text = std::getenv("SLURM_JOB_END_TIME");
  return text == nullptr ? 0 : std::atof(text);
}

}  // namespace orrery::cli
