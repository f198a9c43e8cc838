// Time as the program measures it.
#pragma once

#include <chrono>

namespace orrery::base {

/// Seconds of the steady clock: only differences mean anything.
inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Seconds since 1970 as the steady clock goes on from the first call of this process: a system
/// clock that is set while a job runs makes no span negative and moves no deadline.
inline double wall_seconds() {
  static const double epoch =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count() -
      now_seconds();
  return epoch + now_seconds();
}

/// Seconds since it was made.
class Stopwatch {
 public:
  double seconds() const { return now_seconds() - start_; }

 private:
  double start_ = now_seconds();
};

}  // namespace orrery::base
