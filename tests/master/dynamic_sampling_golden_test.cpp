// The rule of dynamic sampling against the vectors of objectives.
#include <gtest/gtest.h>

#include <limits>

#include "golden_file.h"
#include "orrery/base/error.h"
#include "orrery/master/dynamic_sampling.h"

namespace orrery::master {
namespace {

std::string vectors() {
  return (golden::objectives_directory() / "dynamic_sampling.json").string();
}

double number_or(const nlohmann::json& object, const char* name, double otherwise) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? otherwise : golden::to_double(*found);
}

/// A limit of rounds of the vectors: null is none, which is 0 here; 0 itself is out of range.
int64_t max_rounds_of(const nlohmann::json& given) {
  if (!given.contains("max_rounds") || given["max_rounds"].is_null()) return 0;
  const int64_t rounds = golden::to_int64(given["max_rounds"]);
  return rounds == 0 ? -1 : rounds;
}

DynamicSamplingOptions options_of(const nlohmann::json& given) {
  const nlohmann::json& accept = given["accept"];
  return {.batch_groups = golden::to_int64(given["batch_groups"]),
          .groups_per_round = golden::to_int64(given["groups_per_round"]),
          .accept = {.metric = accept_metric_named(accept["metric"].get<std::string>()),
                     .correct_above = number_or(accept, "correct_above", 0),
                     .low = number_or(accept, "low", 0),
                     .high = number_or(accept, "high", 1),
                     .min_spread = number_or(accept, "min_spread", 0)},
          .max_rounds = max_rounds_of(given),
          .on_limit = on_limit_named(given["on_limit"].get<std::string>()),
          .surplus = surplus_named(given["surplus"].get<std::string>())};
}

struct Sampled {
  std::vector<SampledStep> steps;
  int64_t stream_position = 0;
};

/// As the dispatcher does it: a round as long as the rule wants one.
Sampled sampled(const golden::Case& c) {
  const nlohmann::json& options = c["options"];
  DynamicSampling rule(options_of(options));
  const nlohmann::json& stream = c["stream"];
  Sampled result;
  for (int64_t step = 0; step < golden::to_int64(options.at("steps")); ++step) {
    rule.begin_step();
    const auto left = [&] { return std::ssize(stream) - result.stream_position; };
    while (const int64_t n = rule.next_round(left())) {
      std::vector<JudgedGroup> round;
      for (int64_t i = 0; i < n; ++i, ++result.stream_position) {
        round.push_back({result.stream_position,
                         golden::doubles(stream[static_cast<size_t>(result.stream_position)])});
      }
      rule.judge(round);
    }
    result.steps.push_back(rule.finish_step());
  }
  return result;
}

TEST(DynamicSamplingGolden, TakesTheGroupsOfTheVectors) {
  const golden::Count count =
      golden::for_each_case(vectors(), "dynamic_sampling", [&](const golden::Case& c) {
        const Sampled got = sampled(c);

        const nlohmann::json& steps = c.expect().at("steps");
        ASSERT_EQ(got.steps.size(), steps.size());
        for (size_t i = 0; i < steps.size(); ++i) {
          SCOPED_TRACE("step " + std::to_string(i));
          const SampledStep& step = got.steps[i];
          EXPECT_EQ(step.accepted, golden::integers(steps.at(i).at("accepted")));
          EXPECT_EQ(step.rejected, golden::integers(steps.at(i).at("rejected")));
          EXPECT_EQ(step.carried_over, golden::integers(steps.at(i).at("carried_over")));
          EXPECT_EQ(step.discarded, golden::integers(steps.at(i).at("discarded")));
          EXPECT_EQ(step.carried_in, golden::to_int64(steps.at(i).at("carried_in")));
          EXPECT_EQ(step.rounds, golden::to_int64(steps.at(i).at("rounds")));
          EXPECT_EQ(step.generated_groups, golden::to_int64(steps.at(i).at("generated_groups")));
          EXPECT_EQ(step.is_complete ? 1 : 0, golden::to_int64(steps.at(i).at("complete")));
        }
        EXPECT_EQ(got.stream_position, golden::to_int64(c.expect().at("stream_position")));
      });
  EXPECT_GT(count.ran, 0);
  EXPECT_EQ(count.left_out, 0);
}

TEST(DynamicSampling, NeverTakesAGroupWithoutRewards) {
  EXPECT_FALSE(is_accepted({}, {}));
  EXPECT_FALSE(is_accepted({}, {.metric = AcceptMetric::kRewardSpread}));
}

TEST(DynamicSampling, RefusesOptionsOutOfRange) {
  const auto refuses = [](const DynamicSamplingOptions& options) {
    EXPECT_THROW(DynamicSampling{options}, ConfigError);
  };
  refuses({.batch_groups = 0});
  refuses({.groups_per_round = 0});
  refuses({.max_rounds = -1});
  refuses({.accept = {.low = 0.5, .high = 0.5}});
  refuses({.accept = {.high = std::numeric_limits<double>::infinity()}});
  refuses({.accept = {.correct_above = std::numeric_limits<double>::quiet_NaN()}});
  refuses({.accept = {.metric = AcceptMetric::kRewardSpread, .min_spread = -1}});
}

}  // namespace
}  // namespace orrery::master
