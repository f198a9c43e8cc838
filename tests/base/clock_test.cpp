// Times of a job whose system clock is set while it runs.
#include "orrery/base/clock.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <time.h>  // clock_gettime
#include <unistd.h>

#include <atomic>
#include <chrono>

namespace {
std::atomic<int> set_by_seconds = 0;
}

// Stands before the C library's in this program.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const auto result = static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
  if (clock == CLOCK_REALTIME) time->tv_sec += set_by_seconds;
  return result;
}

namespace orrery::base {
namespace {

double system_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

TEST(Clock, GoesOnWhenTheSystemClockIsSet) {
  const double before = wall_seconds();
  EXPECT_NEAR(before, system_seconds(), 5);
  double last = before;
  for (const int jump : {3600, -7200, 0}) {
    set_by_seconds = jump;

    const double now = wall_seconds();

    EXPECT_NEAR(system_seconds() - before, jump, 60) << "the system clock is not set";
    EXPECT_GE(now, last) << jump;
    EXPECT_LT(now, before + 60) << jump;
    last = now;
  }
}

}  // namespace
}  // namespace orrery::base
