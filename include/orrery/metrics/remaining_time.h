// How long a run still takes, from the durations of its recent steps. Pure arithmetic on times that
// the caller passes in. Rank 0 only; one thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

namespace orrery::metrics {

/// What ends the run; 0 means no such limit. The first one reached ends it.
struct RunLimits {
  int64_t total_steps = 0;
  double total_seconds = 0;
  double seconds_before = 0;  ///< of total_seconds: of the run before it was resumed
};

class RemainingTime {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Seconds = std::chrono::duration<double>;

  RemainingTime(const RunLimits& limits, Time start);

  /// `step` (from 1) ended at `now` after `own` seconds. A resumed run simply begins with a later
  /// step. What lies between two steps (evaluations, saves) counts as well, but not what lies
  /// before the first one: models are loaded once.
  void step_done(int64_t step, Time now, Seconds own);

  /// Mean duration of the last steps; nothing before the first step is done.
  std::optional<Seconds> step_duration() const;
  /// Time to the first limit; nothing when there is no limit or no step is done yet.
  std::optional<Seconds> remaining(Time now) const;

 private:
  static constexpr size_t kWindow = 20;  // long enough to smooth, short enough to follow changes

  RunLimits limits_;
  Time start_;
  Time last_;
  int64_t last_step_ = 0;
  std::deque<Seconds> durations_;
};

}  // namespace orrery::metrics
