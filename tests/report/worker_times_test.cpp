#include "orrery/report/worker_times.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "run_for_test.h"

namespace orrery::report {
namespace {

using ::testing::ElementsAre;

constexpr const char* kTrace = R"([
{"ph":"M","name":"process_name","pid":0,"tid":0,"args":{"name":"worker 0 on node"}},
{"ph":"X","name":"actor_gen","cat":"call","ts":1000000,"dur":2000000,"pid":0,"tid":0,"args":{"step":"1","call":"actor_gen"}},
{"ph":"X","name":"actor_gen","cat":"gpu","ts":5000000,"dur":2000000,"pid":0,"tid":1000,"args":{"step":"1","call":"actor_gen"}},
{"ph":"X","name":"prefetch","cat":"hook","ts":2000000,"dur":2000000,"pid":0,"tid":1,"args":{"step":"1","call":"actor_gen"}},
{"ph":"C","name":"resident_bytes","ts":3,"pid":0,"args":{"value":500}},
{"ph":"C","name":"resident_bytes","ts":4,"pid":0,"args":{"value":400}},
{"ph":"X","name":"evaluate","cat":"call","ts":9000000,"dur":2000000,"pid":0,"tid":0,"args":{"step":"1","call":"actor_train"}},
{"ph":"X","name":"export","cat":"call","ts":12000000,"dur":2000000,"pid":0,"tid":0,"args":{"step":"1","call":"actor_train"}},
{"ph":"X","name":"torn","ca)";

TEST(WorkerTimes, CountsWhatOverlapsOnce) {
  const WorkerTimes times = worker_times(kTrace);

  EXPECT_EQ(times.name, "worker 0 on node");
  EXPECT_THAT(times.busy_seconds.steps, ElementsAre(1));
  EXPECT_THAT(times.busy_seconds.values, ElementsAre(3.0));  // 1 s to 4 s; no evaluation, no export
  EXPECT_EQ(times.of_span.at("actor_gen"), 2.0) << "the worker's, not what its GPU took of it";
  EXPECT_EQ(times.of_span.at("actor_gen: prefetch"), 2.0);
}

TEST(WorkerTimes, KeepsTheLargestMemoryOfAStep) {
  EXPECT_THAT(worker_times(kTrace).resident_bytes.values, ElementsAre(500.0));
}

TEST(WorkerTimes, ReadsTheEndOfALongTraceAndTheNameAtItsHead) {
  const RunForTest run;
  std::string trace =
      "[\n{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":0,\"args\":{\"name\":\"worker 3\"}},\n";
  for (const char* step : {"1", "2", "3"}) {
    trace += std::string("{\"ph\":\"X\",\"name\":\"a\",\"ts\":0,\"dur\":5,\"args\":{\"step\":\"") +
             step + "\"}},\n";
  }
  run.write("trace/worker-3.json", trace);
  const auto end = read_worker_times(run.root(), 100);

  ASSERT_EQ(end.size(), 1U);
  EXPECT_EQ(end[0].name, "worker 3");
  EXPECT_THAT(end[0].busy_seconds.steps, ElementsAre(3));
  EXPECT_THAT(read_worker_times(run.root(), kWholeTrace)[0].busy_seconds.steps,
              ElementsAre(1, 2, 3));
}

}  // namespace
}  // namespace orrery::report
