// How to wait in a loop that must ask (MPI knows no blocking wait with a deadline): ask at once for
// a while, since most answers come soon and a sleep costs at least 50 µs; then sleep between asks,
// never longer than a fraction of the time already waited, so that a long wait costs neither the
// core that a computing rank needs nor a noticeable delay.
#pragma once

#include <chrono>

namespace orrery::comm {

struct BackoffLimits {
  std::chrono::microseconds spin{1000};       ///< no sleep before that
  std::chrono::microseconds max_sleep{1000};  ///< at a time
  int fraction = 64;                          ///< sleep at most waited / fraction
};

class Backoff {
 public:
  using Limits = BackoffLimits;

  /// For collectives: peers are mostly as quick as this rank, and MPI moves data only when asked.
  static constexpr Limits kForCollectives{.spin = std::chrono::microseconds(2000),
                                          .max_sleep = std::chrono::microseconds(200),
                                          .fraction = 32};

  Backoff() = default;
  explicit Backoff(Limits limits) : limits_(limits) {}

  /// Something happened: ask at once again.
  void reset() { start_ = Clock::now(); }
  /// Nothing happened: sleep as long as is due, perhaps not at all.
  void pause();
  /// What pause() would sleep after having waited that long.
  std::chrono::microseconds sleep_after(std::chrono::microseconds waited) const;

 private:
  using Clock = std::chrono::steady_clock;

  Limits limits_;
  Clock::time_point start_ = Clock::now();
};

}  // namespace orrery::comm
