// Every case of golden stats.json, by a StatisticsTracker.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "golden_file.h"
#include "orrery/base/error.h"
#include "orrery/metrics/statistics_tracker.h"

namespace orrery::metrics {
namespace {

using nlohmann::json;

// What we answer differently from the reference.
const golden::QuirkChoices kQuirks = {
    {"missing-key-raises",
     {golden::Quirk::kOurs,
      "a rank that has no value for a key (no valid token) does not fail the step: the mean is "
      "over the ranks that have one"}},
};

Reduction reduction_named(const std::string& name) {
  if (name == "SUM") return Reduction::kSum;
  if (name == "MIN") return Reduction::kMin;
  if (name == "MAX") return Reduction::kMax;
  EXPECT_EQ(name, "AVG");
  return Reduction::kAvg;
}

void expect_values(const Statistics& statistics, const json& expect) {
  const std::map<std::string, double> got = statistics.values();
  EXPECT_EQ(got.size(), expect.size());
  for (const auto& [name, value] : expect.items()) {
    ASSERT_EQ(got.count(name), 1u) << name;
    // The reference sums in float32, we in double: a few float32 roundings apart.
    const double wanted = value.get<double>();
    EXPECT_NEAR(got.at(name), wanted, 1e-6 * (1 + std::abs(wanted))) << name;
  }
}

TEST(StatisticsGolden, Tracker) {
  golden::for_each_case("stats.json", "tracker", [](const golden::Case& c) {
    StatisticsTracker tracker(c["tracker_name"].get<std::string>());
    {
      const auto scope = tracker.scope(c["scope"].get<std::string>());
      for (const json& record : c["records"]) {
        tracker.denominator("n_tok", record["mask"].get<std::vector<uint8_t>>());
        tracker.values("loss", record["loss"].get<std::vector<float>>(), {.over = "n_tok"});
        tracker.values("other", record["other"].get<std::vector<float>>(),
                       {.over = "n_tok",
                        .reduction = reduction_named(record["other_reduce"].get<std::string>())});
        tracker.scalar("lr", record["lr"].get<double>());
      }
    }
    expect_values(tracker.take(), c["expect"]);
    EXPECT_TRUE(tracker.take().empty());
  });
}

TEST(StatisticsGolden, TrackerOverDataRanks) {
  golden::for_each_case("stats.json", "tracker_dp", [](const golden::Case& c) {
    Statistics merged;
    for (size_t rank = 0; rank < c["n_ranks"].get<size_t>(); ++rank) {
      StatisticsTracker tracker;
      for (const json& record : c["records"]) {
        tracker.denominator("n", record["mask"][rank].get<std::vector<uint8_t>>());
        const auto x = record["x"][rank].get<std::vector<double>>();
        tracker.values("x", x, {.over = "n"});
        tracker.values("s", x, {.over = "n", .reduction = Reduction::kSum});
        tracker.scalar("c", record["scalar"][rank].get<double>());
      }
      merged.merge(tracker.take());
    }
    expect_values(merged, c["expect"]);
  });
}

TEST(StatisticsGolden, MeanOverRanks) {
  golden::for_each_case("stats.json", "gather_stat",
                        [](const golden::Case& c) {
                          Statistics merged;
                          for (const json& rank : c["per_rank"]) {
                            Statistics statistics;
                            for (const auto& [name, value] : rank.items())
                              statistics.scalar(name, value.get<double>());
                            merged.merge(statistics);
                          }
                          if (c.choice == golden::Quirk::kOurs) {
                            EXPECT_TRUE(merged.value("a").has_value());
                            return;
                          }
                          expect_values(merged, c.expect()["stats"]);
                        },
                        {.quirks = kQuirks});
}

TEST(StatisticsTrackerUse, RefusesValuesThatDoNotFitTheirMask) {
  StatisticsTracker tracker;
  const std::vector<uint8_t> mask = {1, 0};
  const std::vector<float> values = {1, 2, 3};
  tracker.denominator("n", mask);

  EXPECT_THROW(tracker.values("x", values, {.over = "n"}), ShapeError);
  EXPECT_THROW(tracker.values("x", values, {.over = "other"}), CallError);
}

TEST(StatisticsTrackerUse, ScopesNest) {
  StatisticsTracker tracker("actor");
  {
    const auto outer = tracker.scope("ppo");
    const auto inner = tracker.scope("clip");
    tracker.scalar("ratio", 1);
  }
  tracker.scalar("lr", 2);

  EXPECT_EQ(tracker.take().values(),
            (std::map<std::string, double>{{"actor/lr", 2}, {"actor/ppo/clip/ratio", 1}}));
}

}  // namespace
}  // namespace orrery::metrics
