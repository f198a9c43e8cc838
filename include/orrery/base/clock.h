// Time as the program measures it.
#pragma once

#include <chrono>

namespace orrery::base {

/// Seconds of the steady clock: only differences mean anything.
inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Seconds since it was made.
class Stopwatch {
 public:
  double seconds() const { return now_seconds() - start_; }

 private:
  double start_ = now_seconds();
};

}  // namespace orrery::base
