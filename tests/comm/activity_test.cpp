#include "orrery/comm/activity.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

namespace orrery::comm {
namespace {

TEST(Activity, ShowsTheInnermostWaitAndReturnsToTheOuterOne) {
  Activity activity;
  const std::vector<int> outer_peers = {1, 2};
  const std::vector<int> inner_peers = {2};
  EXPECT_FALSE(activity.snapshot().is_waiting);
  {
    const Activity::Waiting outer(&activity, "all_reduce", "actor.0/data0", outer_peers);
    {
      const Activity::Waiting inner(&activity, "exchange", "workers", inner_peers);
      EXPECT_EQ(activity.snapshot().operation, "exchange");
      EXPECT_EQ(activity.snapshot().peers, inner_peers);
    }
    EXPECT_EQ(activity.snapshot().operation, "all_reduce");
    EXPECT_EQ(activity.snapshot().communicator, "actor.0/data0");
  }
  EXPECT_FALSE(activity.snapshot().is_waiting);
  EXPECT_EQ(activity.progress(), 2u);
}

TEST(Activity, LetsScopesOfTwoThreadsEndInAnyOrder) {
  Activity activity;
  const std::vector<int> peers = {1};
  auto first = std::make_unique<Activity::Waiting>(&activity, "first", "workers", peers);
  auto second = std::make_unique<Activity::Waiting>(&activity, "second", "workers", peers);
  first.reset();
  EXPECT_EQ(activity.snapshot().operation, "second");
  second.reset();
  EXPECT_FALSE(activity.snapshot().is_waiting);
}

TEST(Activity, IsReadByAnotherThreadWhileTheWriterGoesOn) {
  Activity activity;
  const std::vector<int> peers = {3, 4};
  std::atomic<bool> stop{false};
  std::jthread reader([&] {
    while (!stop) {
      const Activity::Snapshot seen = activity.snapshot();
      if (seen.is_waiting) {
        EXPECT_EQ(seen.peers, peers);
      }
    }
  });
  for (int i = 0; i < 2000; ++i) {
    const Activity::Waiting waiting(&activity, "barrier", "workers", peers);
  }
  stop = true;
  reader.join();
  EXPECT_EQ(activity.progress(), 2000u);
}

TEST(Activity, MayBeAbsent) {
  const std::vector<int> peers = {1};
  EXPECT_NO_THROW({ const Activity::Waiting waiting(nullptr, "barrier", "workers", peers); });
}

}  // namespace
}  // namespace orrery::comm
