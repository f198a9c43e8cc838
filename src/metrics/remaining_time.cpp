#include "orrery/metrics/remaining_time.h"

#include <algorithm>

namespace orrery::metrics {

RemainingTime::RemainingTime(const RunLimits& limits, Time start)
    : limits_(limits), start_(start), last_(start) {}

void RemainingTime::step_done(int64_t step, Time now, Seconds own) {
  durations_.push_back(last_step_ == 0 ? own : Seconds(now - last_));
  if (durations_.size() > kWindow) durations_.pop_front();
  last_ = now;
  last_step_ = step;
}

std::optional<RemainingTime::Seconds> RemainingTime::step_duration() const {
  if (durations_.empty()) return std::nullopt;
  Seconds sum{0};
  for (Seconds duration : durations_) sum += duration;
  return sum / static_cast<double>(durations_.size());
}

std::optional<RemainingTime::Seconds> RemainingTime::remaining(Time now) const {
  const std::optional<Seconds> per_step = step_duration();
  if (!per_step) return std::nullopt;
  std::optional<Seconds> result;
  if (limits_.total_steps > 0) {
    const int64_t steps = std::max<int64_t>(limits_.total_steps - last_step_, 0);
    const Seconds since_last = now - last_;
    result = std::max(Seconds{0}, *per_step * static_cast<double>(steps) - since_last);
  }
  if (limits_.total_seconds > 0) {
    const Seconds used = Seconds{limits_.seconds_before} + (now - start_);
    const Seconds left = std::max(Seconds{0}, Seconds{limits_.total_seconds} - used);
    result = result ? std::min(*result, left) : left;
  }
  return result;
}

}  // namespace orrery::metrics
