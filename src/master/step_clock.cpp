#include "orrery/master/step_clock.h"

namespace orrery::master {

namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

StepNumbers step_numbers(int64_t step, int64_t samples_per_step, int64_t samples_per_epoch) {
  const int64_t before = step * samples_per_step;
  const int64_t epoch = before / samples_per_epoch;
  const int64_t first_of_epoch = divide_up(epoch * samples_per_epoch, samples_per_step);
  return {.step = step,
          .epoch = epoch,
          .epoch_step = step - first_of_epoch,
          .ends_epoch = before + samples_per_step >= (epoch + 1) * samples_per_epoch};
}

int64_t steps_of_epochs(int64_t epochs, int64_t samples_per_step, int64_t samples_per_epoch) {
  return divide_up(epochs * samples_per_epoch, samples_per_step);
}

std::string_view text_of(StopReason reason) {
  switch (reason) {
    case StopReason::kSteps:
      return "total_steps reached";
    case StopReason::kEpochs:
      return "total_epochs reached";
    case StopReason::kSeconds:
      return "total_seconds reached";
    case StopReason::kStopRequested:
      return "stop requested";
    case StopReason::kTarget:
      return "evaluate.stop_at_accuracy reached";
    case StopReason::kNoTraining:
      return "nothing is trained";
    case StopReason::kNoRise:
      return "evaluate.stop_after: nothing better for so many evaluations";
  }
  return "unknown";
}

std::optional<StopReason> reason_to_stop(const StopConditions& conditions,
                                         const RunProgress& progress, int64_t samples_per_step,
                                         int64_t samples_per_epoch) {
  if (conditions.begins_no_step) return StopReason::kNoTraining;
  if (progress.stop_requested) return StopReason::kStopRequested;
  if (progress.target_reached) return StopReason::kTarget;
  if (progress.has_stalled) return StopReason::kNoRise;
  if (conditions.total_steps > 0 && progress.steps_done >= conditions.total_steps) {
    return StopReason::kSteps;
  }
  if (conditions.total_epochs > 0 &&
      progress.steps_done >=
          steps_of_epochs(conditions.total_epochs, samples_per_step, samples_per_epoch)) {
    return StopReason::kEpochs;
  }
  if (conditions.total_seconds > 0 && progress.seconds >= conditions.total_seconds) {
    return StopReason::kSeconds;
  }
  return std::nullopt;
}

}  // namespace orrery::master
