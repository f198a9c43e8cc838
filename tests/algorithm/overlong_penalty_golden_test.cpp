// The penalty for long answers against the vectors of objectives, and on rewards.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "golden_file.h"
#include "orrery/algorithm/overlong_penalty.h"
#include "orrery/base/error.h"

namespace orrery::algorithm {
namespace {

std::string vectors() {
  return (golden::objectives_directory() / "dynamic_sampling.json").string();
}

TEST(OverlongPenaltyGolden, IsThatOfTheVectors) {
  const nlohmann::json& tolerance = golden::load(vectors())["tolerance"];
  const double absolute = tolerance["absolute"].get<double>();
  const double relative = tolerance["relative"].get<double>();
  const golden::Count count =
      golden::for_each_case(vectors(), "overlong_penalty", [&](const golden::Case& c) {
        const nlohmann::json& options = c["options"];
        const OverlongPenalty penalty{
            .max_length = golden::to_int64(options.at("max_length")),
            .buffer_length = golden::to_int64(options.at("buffer_length")),
            .factor = golden::to_double(options.at("penalty_factor"))};
        const std::vector<int64_t> lengths = golden::integers(c["response_lengths"]);
        std::vector<double> got;
        for (const int64_t length : lengths) got.push_back(overlong_penalty(length, penalty));

        const std::vector<double> expected = golden::doubles(c.expect().at("penalties"));
        ASSERT_EQ(got.size(), expected.size());
        for (size_t i = 0; i < got.size(); ++i) {
          EXPECT_NEAR(got[i], expected[i], absolute + relative * std::abs(expected[i]))
              << "length " << lengths[i];
        }
      });
  EXPECT_GT(count.ran, 0);
  EXPECT_EQ(count.left_out, 0);
}

TEST(OverlongPenalty, IsTakenOffTheRewardsOfLongAnswersOnly) {
  OverlongOptions options;
  options.overlong_max_length = 10;
  options.overlong_buffer = 4;
  options.overlong_penalty = 2;
  std::vector<float> rewards = {1, 1, 1, std::numeric_limits<float>::quiet_NaN()};

  const metrics::Statistics statistics = add_overlong_penalty(options, {6, 8, 11, 12}, rewards);

  EXPECT_EQ(std::vector<float>(rewards.begin(), rewards.begin() + 3),
            (std::vector<float>{1, 0, -1}));
  EXPECT_TRUE(std::isnan(rewards[3]));
  EXPECT_EQ(statistics.value("overlong_share"), 0.75);
}

TEST(OverlongPenalty, LeavesRewardsAloneUnlessAskedFor) {
  std::vector<float> rewards = {1};

  EXPECT_TRUE(add_overlong_penalty({}, {1000}, rewards).empty());

  EXPECT_EQ(rewards, std::vector<float>{1});
}

}  // namespace
}  // namespace orrery::algorithm
