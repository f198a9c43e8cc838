// The mean over ranks of golden stats.json. Values under masks are algorithm's:
// tests/algorithm/masked_statistics_golden_test.cpp.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "golden_file.h"
#include "orrery/metrics/statistics.h"

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

void expect_values(const Statistics& statistics, const json& expect) {
  const std::map<std::string, double> got = statistics.values();
  EXPECT_EQ(got.size(), expect.size());
  for (const auto& [name, value] : expect.items()) {
    ASSERT_EQ(got.count(name), 1u) << name;
    golden::expect_close(got.at(name), value, name);
  }
}

TEST(StatisticsGolden, MeanOverRanks) {
  golden::for_each_case("stats.json", "gather_stat",
                        [](const golden::Case& c) {
                          Statistics merged;
                          for (const json& rank : c["per_rank"]) {
                            Statistics statistics;
                            for (const auto& [name, value] : rank.items())
                              statistics.scalar(name, golden::to_double(value));
                            merged.merge(statistics);
                          }
                          if (c.choice == golden::Quirk::kOurs) {
                            // Whatever some rank has, and no exception.
                            for (const json& rank : c["per_rank"]) {
                              for (const auto& [name, value] : rank.items()) {
                                EXPECT_TRUE(merged.value(name).has_value()) << name;
                              }
                            }
                            return;
                          }
                          expect_values(merged, c.expect().at("stats"));
                        },
                        {.quirks = kQuirks});
}

}  // namespace
}  // namespace orrery::metrics
