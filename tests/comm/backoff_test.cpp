#include "orrery/comm/backoff.h"

#include <gtest/gtest.h>

namespace orrery::comm {
namespace {

using std::chrono::microseconds;

TEST(Backoff, SleepsNotAtAllAtFirstThenAFractionOfTheWaitUpToALimit) {
  const Backoff backoff(
      {.spin = microseconds(1000), .max_sleep = microseconds(500), .fraction = 10});
  EXPECT_EQ(backoff.sleep_after(microseconds(999)), microseconds(0));
  EXPECT_EQ(backoff.sleep_after(microseconds(1000)), microseconds(100));
  EXPECT_EQ(backoff.sleep_after(microseconds(3000)), microseconds(300));
  EXPECT_EQ(backoff.sleep_after(microseconds(60000000)), microseconds(500));
}

}  // namespace
}  // namespace orrery::comm
