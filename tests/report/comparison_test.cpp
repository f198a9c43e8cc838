#include "orrery/report/comparison.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace orrery::report {
namespace {

using ::testing::ElementsAre;

Curve curve_of(const std::vector<double>& values) {
  Curve curve;
  for (size_t i = 0; i < values.size(); ++i) curve.put(static_cast<int64_t>(i) + 1, values[i]);
  return curve;
}

TEST(CompareRuns, FindsTheFirstStepThatDiffers) {
  RunRecord a, b;
  a.curves["loss"] = curve_of({1, 2, 3});
  b.curves["loss"] = curve_of({1, 2.5, 3, 4});
  const Comparison comparison = compare_runs(a, b, 0, false);

  ASSERT_EQ(comparison.metrics.size(), 1U);
  EXPECT_EQ(comparison.metrics[0].first_step, 2);
  EXPECT_EQ(comparison.metrics[0].b, 2.5);
  EXPECT_EQ(comparison.metrics[0].common_steps, 3);
  EXPECT_FALSE(compare_runs(a, b, 0.3, false).metrics[0].first_step);
}

TEST(CompareRuns, LeavesOutTimesAndMemoryUnlessAskedFor) {
  RunRecord a, b;
  a.curves["time/step"] = curve_of({1});
  b.curves["time/step"] = curve_of({2});
  b.curves["memory/actor_train/peak_bytes"] = curve_of({3});  // of a GPU
  EXPECT_TRUE(compare_runs(a, b, 0, false).metrics.empty());
  EXPECT_TRUE(compare_runs(a, b, 0, false).only_b.empty());
  EXPECT_EQ(compare_runs(a, b, 0, true).metrics.size(), 1U);
  EXPECT_EQ(compare_runs(a, b, 0, true).only_b.size(), 1U);
}

TEST(CompareRuns, ListsKeysThatDifferOrAreMissing) {
  RunRecord a, b;
  a.config = {{"m", "lr", "1"}, {"m", "same", "x"}, {"m", "gone", "y"}};
  b.config = {{"m", "lr", "2"}, {"m", "same", "x"}, {"m", "new", "z"}};
  const Comparison comparison = compare_runs(a, b, 0, false);

  ASSERT_EQ(comparison.config.size(), 3U);
  EXPECT_EQ(comparison.config[0].key, "m.lr");
  EXPECT_FALSE(comparison.config[1].b);
  EXPECT_FALSE(comparison.config[2].a);
}

TEST(CompareRuns, NamesMetricsOfOneRunAlone) {
  RunRecord a, b;
  a.curves["x"] = curve_of({1});
  b.curves["y"] = curve_of({1});
  const Comparison comparison = compare_runs(a, b, 0, false);
  EXPECT_THAT(comparison.only_a, ElementsAre("x"));
  EXPECT_THAT(comparison.only_b, ElementsAre("y"));
}

}  // namespace
}  // namespace orrery::report
