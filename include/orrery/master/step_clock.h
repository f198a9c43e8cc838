// Steps and epochs: which epoch a step belongs to, when an epoch ends, when training is over. A
// step belongs to the epoch of its first sample; an epoch's remainder is carried over into the step
// that begins the next one. Pure; main thread of the master.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace orrery::master {

/// Numbers of one step, all counted from 0.
struct StepNumbers {
  int64_t step = 0;
  int64_t epoch = 0;
  int64_t epoch_step = 0;   ///< steps of this epoch before it
  bool ends_epoch = false;  ///< reads the last sample of its epoch

  bool operator==(const StepNumbers&) const = default;
};

/// Numbers of step `step` (from 0) when each reads `samples_per_step` of `samples_per_epoch`, both
/// positive. Local.
StepNumbers step_numbers(int64_t step, int64_t samples_per_step, int64_t samples_per_epoch);

/// Steps that it takes to read `epochs` epochs; the last one may reach into the next. Local.
int64_t steps_of_epochs(int64_t epochs, int64_t samples_per_step, int64_t samples_per_epoch);

/// Conditions that end a run; 0 = no limit.
struct StopConditions {
  int64_t total_steps = 0;
  int64_t total_epochs = 0;
  double total_seconds = 0;
  bool begins_no_step = false;  ///< nothing is trained
};

enum class StopReason { kSteps, kEpochs, kSeconds, kStopRequested, kTarget, kNoRise, kNoTraining };

/// `total_steps reached` and so on, for logs.
std::string_view text_of(StopReason reason);

/// How far a run is.
struct RunProgress {
  int64_t steps_done = 0;
  double seconds = 0;  ///< of training, over all resumed parts
  bool stop_requested = false;
  bool target_reached = false;  ///< an evaluation gave what was asked for
  bool has_stalled = false;     ///< so many evaluations gave nothing better
};

/// Why no further step may begin, or nothing. That none begins at all comes first, then a requested
/// stop, the target, the stall, steps, epochs, seconds. Local.
std::optional<StopReason> reason_to_stop(const StopConditions& conditions,
                                         const RunProgress& progress, int64_t samples_per_step,
                                         int64_t samples_per_epoch);

}  // namespace orrery::master
