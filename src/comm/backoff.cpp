#include "orrery/comm/backoff.h"

#include <algorithm>  // min
#include <thread>

namespace orrery::comm {

std::chrono::microseconds Backoff::sleep_after(std::chrono::microseconds waited) const {
  if (waited < limits_.spin) return std::chrono::microseconds(0);
  return std::min(limits_.max_sleep, waited / limits_.fraction);
}

void Backoff::pause() {
  const auto waited = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start_);
  const auto sleep = sleep_after(waited);
  if (sleep.count() == 0) {
    std::this_thread::yield();  // with more ranks than cores the peer may need this one
  } else {
    std::this_thread::sleep_for(sleep);
  }
}

}  // namespace orrery::comm
