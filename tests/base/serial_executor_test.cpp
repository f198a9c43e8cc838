#include "orrery/base/serial_executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <vector>

namespace orrery::base {
namespace {

TEST(SerialExecutor, RunsJobsInTheirOrder) {
  std::vector<int> ran;
  SerialExecutor executor;
  for (int i = 0; i < 100; ++i) executor.submit([&ran, i] { ran.push_back(i); });

  executor.wait_until_left(0);

  ASSERT_EQ(ran.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(ran[static_cast<size_t>(i)], i);
}

TEST(SerialExecutor, RunsWhatIsLeftBeforeItEnds) {
  std::atomic<int> n_ran = 0;
  {
    SerialExecutor executor;
    for (int i = 0; i < 10; ++i) executor.submit([&] { ++n_ran; });
  }
  EXPECT_EQ(n_ran, 10);
}

TEST(SerialExecutor, WaitsUntilFewEnoughAreLeft) {
  std::promise<void> gate;
  std::atomic<int> n_ran = 0;
  SerialExecutor executor;
  executor.submit([&] { ++n_ran; });
  executor.submit([&, open = gate.get_future().share()] { open.wait(); });

  executor.wait_until_left(1);

  EXPECT_EQ(n_ran, 1);
  gate.set_value();
}

TEST(SerialExecutor, FreesWhatAJobHeldBeforeItCountsAsDone) {
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> seen = held;
  SerialExecutor executor;
  executor.submit([held = std::move(held)] {});

  executor.wait_until_left(0);

  EXPECT_TRUE(seen.expired());
}

TEST(SerialExecutor, TakesJobsFromAJob) {
  std::atomic<bool> ran = false;
  {
    SerialExecutor executor;
    executor.submit([&] { executor.submit([&] { ran = true; }); });
    executor.wait_until_left(0);
  }
  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace orrery::base
