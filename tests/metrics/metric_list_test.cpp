#include "orrery/metrics/metric_list.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>

namespace orrery::metrics {
namespace {

TEST(MetricList, FindsNamesWithCallsDataSetsAndMinibatches) {
  for (const char* name : {"time/step", "reward/reward", "reward/reward_max", "reward/reward_std",
                           "reward/dataset/train/reward", "time/actor_gen/pre/data_transfer/max",
                           "actor_train/minibatch1/loss", "actor_gen/value/packed_logprobs"}) {
    EXPECT_FALSE(metrics_named(name).empty()) << name;
  }
}

TEST(MetricList, DoesNotFindOthers) {
  for (const char* name :
       {"", "loss", "actor_train/los", "actor_train/loss_min", "reward/reward_avg",
        "actor_train/minibatch1/los", "time/actor_gen", "a/b/c/d/e"}) {
    EXPECT_TRUE(metrics_named(name).empty()) << name;
  }
}

TEST(MetricList, HasARowForEachMeaningOfAName) {
  EXPECT_EQ(metrics_named("x/reward").size(), 2u) << "of a verifier and of a learner";
}

TEST(MetricList, SaysEverythingOfEachMetricOnce) {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (const MetricSection& section : metric_list()) {
    EXPECT_FALSE(section.title.empty());
    for (const Metric& metric : section.metrics) {
      EXPECT_FALSE(metric.unit.empty()) << metric.name;
      EXPECT_FALSE(metric.definition.empty()) << metric.name;
      EXPECT_FALSE(metric.source.empty()) << metric.name;
      EXPECT_TRUE(seen.emplace(metric.name, metric.source).second) << metric.name;
    }
  }
}

}  // namespace
}  // namespace orrery::metrics
