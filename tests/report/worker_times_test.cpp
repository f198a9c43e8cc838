#include "orrery/report/worker_times.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace orrery::report {
namespace {

using ::testing::ElementsAre;

constexpr const char* kTrace = R"([
{"ph":"M","name":"process_name","pid":0,"tid":0,"args":{"name":"worker 0 on node"}},
{"ph":"X","name":"actor_gen","cat":"call","ts":1000000,"dur":2000000,"pid":0,"tid":0,"args":{"step":"1","call":"actor_gen"}},
{"ph":"X","name":"prefetch","cat":"hook","ts":2000000,"dur":2000000,"pid":0,"tid":1,"args":{"step":"1","call":"actor_gen"}},
{"ph":"C","name":"resident_bytes","ts":3,"pid":0,"args":{"value":500}},
{"ph":"C","name":"resident_bytes","ts":4,"pid":0,"args":{"value":400}},
{"ph":"X","name":"evaluate","cat":"call","ts":9000000,"dur":2000000,"pid":0,"tid":0,"args":{"step":"1","call":"actor_train"}},
{"ph":"X","name":"torn","ca)";

TEST(WorkerTimes, CountsWhatOverlapsOnce) {
  const WorkerTimes times = worker_times(kTrace);

  EXPECT_EQ(times.name, "worker 0 on node");
  EXPECT_THAT(times.busy_seconds.steps, ElementsAre(1));
  EXPECT_THAT(times.busy_seconds.values, ElementsAre(3.0));  // 1 s to 4 s; no evaluation
  EXPECT_EQ(times.of_span.at("actor_gen"), 2.0);
  EXPECT_EQ(times.of_span.at("actor_gen: prefetch"), 2.0);
}

TEST(WorkerTimes, KeepsTheLargestMemoryOfAStep) {
  EXPECT_THAT(worker_times(kTrace).resident_bytes.values, ElementsAre(500.0));
}

}  // namespace
}  // namespace orrery::report
