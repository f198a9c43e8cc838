#include "orrery/algorithm/call_statistics.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace orrery::algorithm {
namespace {

/// Three prompts with 2, 3 and 2 answers of two data sets, and what a call made of them.
data::SequenceBatch samples() {
  data::SequenceBatch batch;
  batch.meta.ids = {{1}, {2}, {3}};
  batch.meta.extra[kDatasetOfSample] = {"\"train\"", "\"more\"", "\"train\""};
  return batch;
}

TEST(CallStatistics, OfRewardsHaveTheirDeviationGroupsAndDataSets) {
  data::SequenceBatch output = samples();
  const float none = std::nanf("");
  output.set("rewards", at::tensor({0.F, 1.F, 0.5F, 0.5F, none, 1.F, none}),
             {{1, 1}, {1, 1, 1}, {1, 1}});

  const metrics::Statistics statistics = call_statistics(samples(), output);

  // 0, 1, 0.5, 0.5, 1: mean 0.6
  EXPECT_NEAR(statistics.value("reward_std").value(), std::sqrt(0.7 / 5), 1e-7);
  // Two groups with two rewards or more, of which one is uniform.
  EXPECT_EQ(statistics.value("uniform_group_ratio"), 0.5);
  EXPECT_NEAR(statistics.value("dataset/train/reward").value(), 2.0 / 3, 1e-7);
  EXPECT_EQ(statistics.value("dataset/more/reward"), 0.5);
}

TEST(CallStatistics, OfSingleAnswersHaveNoGroups) {
  data::SequenceBatch output = samples();
  output.set("rewards", at::tensor({0.F, 0.F, 0.F}), {{1}, {1}, {1}});

  EXPECT_EQ(call_statistics(samples(), output).value("uniform_group_ratio"), std::nullopt);
}

TEST(CallStatistics, OfGenerationHaveTheLengthsOfEachDataSet) {
  data::SequenceBatch output = samples();
  // Prompts of 2, 1 and 3 tokens; answers of 1, 3 | 4 | 2 tokens.
  output.set("packed_input_ids", at::arange(3 + 5 + 5 + 5), {{3, 5}, {5}, {5}});
  output.set("prompt_mask",
             at::tensor({1, 1, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0}).to(at::kBool),
             {{3, 5}, {5}, {5}});
  output.set("seq_no_eos_mask", at::tensor({1, 0, 0, 0}).to(at::kBool), {{1, 1}, {1}, {1}});

  const metrics::Statistics statistics = call_statistics(samples(), output);

  EXPECT_NEAR(statistics.value("dataset/train/response_length").value(), 2.0, 1e-12);
  EXPECT_NEAR(statistics.value("dataset/train/prompt_length").value(), 7.0 / 3, 1e-12);
  EXPECT_NEAR(statistics.value("dataset/train/no_eos_ratio").value(), 1.0 / 3, 1e-12);
  EXPECT_EQ(statistics.value("dataset/more/response_length"), 4.0);
}

TEST(CallStatistics, CountTheTokensThatWereRead) {
  data::SequenceBatch input = samples();
  input.set("packed_input_ids", at::arange(6), {{1}, {2}, {3}});

  EXPECT_EQ(call_statistics(input, samples()).value("n_tokens"), 6.0);
}

TEST(CallStatistics, OfSamplesThatDoNotSayTheirDataSetHaveNone) {
  data::SequenceBatch input = samples();
  input.meta.extra.clear();
  data::SequenceBatch output = input;
  output.set("rewards", at::tensor({0.F, 1.F, 0.F}), {{1}, {1}, {1}});

  const metrics::Statistics statistics = call_statistics(input, output);

  EXPECT_EQ(statistics.size(), 1u);
  EXPECT_TRUE(statistics.value("reward_std").has_value());
}

}  // namespace
}  // namespace orrery::algorithm
