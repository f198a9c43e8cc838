// The metrics of an evaluation set out of what was found about each record.
#include "orrery/metrics/evaluation.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace orrery::metrics {
namespace {

EvaluatedAnswer right(std::string vote) {
  return {.n_tokens = 4, .is_right = true, .has_vote = true, .vote = std::move(vote)};
}

EvaluatedAnswer wrong(std::string vote) {
  return {.n_tokens = 6, .is_cut = true, .has_vote = true, .vote = std::move(vote)};
}

std::vector<EvaluatedRecord> records() {
  return {{.row = 0, .answers = {right("4"), wrong("5"), right("4")}, .by = {{"level", "1"}}},
          {.row = 1, .answers = {wrong("7"), wrong("7"), right("8")}, .by = {{"level", "2"}}},
          {.row = 2, .answers = {wrong("1"), wrong("2"), wrong("3")}, .by = {{"level", "2"}}}};
}

TEST(EvaluationStatistics, EachPromptCountsOnce) {
  const Statistics all = evaluation_statistics(records(), {.k = {1, 3}, .counts_votes = true});

  EXPECT_NEAR(*all.value("accuracy"), (2 / 3.0 + 1 / 3.0 + 0) / 3, 1e-12);
  EXPECT_NEAR(*all.value("pass@1"), (2 / 3.0 + 1 / 3.0 + 0) / 3, 1e-12);
  EXPECT_NEAR(*all.value("avg@1"), 1 / 3.0, 1e-12) << "the first answer of each";
  EXPECT_NEAR(*all.value("pass@3"), 2 / 3.0, 1e-12);
  EXPECT_NEAR(*all.value("maj@3"), 1 / 3.0, 1e-12);
  EXPECT_EQ(all.value("n_prompts"), 3);
  EXPECT_EQ(all.value("n_answers"), 9);
  EXPECT_NEAR(*all.value("response_length"), (3 * 4 + 6 * 6) / 9.0, 1e-12);
  EXPECT_NEAR(*all.value("no_eos_ratio"), 6 / 9.0, 1e-12);
}

TEST(EvaluationStatistics, AreToldApartByTheValuesOfAField) {
  const Statistics all = evaluation_statistics(records(), {.k = {3}, .counts_votes = true});

  EXPECT_NEAR(*all.value("level=1/accuracy"), 2 / 3.0, 1e-12);
  EXPECT_NEAR(*all.value("level=2/pass@3"), 0.5, 1e-12);
  EXPECT_EQ(all.value("level=1/n_prompts"), 1);
  EXPECT_EQ(all.value("level=2/n_prompts"), 2);
}

TEST(EvaluationStatistics, AValueWithASlashStaysOnePartOfTheName) {
  std::vector<EvaluatedRecord> one = {records()[0]};
  one[0].by = {{"topic", "algebra/groups"}};

  EXPECT_TRUE(evaluation_statistics(one, {}).value("topic=algebra_groups/accuracy"));
}

TEST(EvaluationStatistics, WithoutARuleThereAreNoVotes) {
  const Statistics all = evaluation_statistics(records(), {.k = {3}});

  EXPECT_TRUE(all.value("pass@3"));
  EXPECT_FALSE(all.value("maj@3"));
}

TEST(EvaluationStatistics, RewardsAreMeansOverTheAnswersThatHaveOne) {
  std::vector<EvaluatedRecord> some = {
      {.answers = {{.is_right = true, .is_rewarded = true, .reward = 1.5, .parts = {{"math", 1}}},
                   {.is_rewarded = false}}}};

  const Statistics all = evaluation_statistics(some, {.has_rewards = true});

  EXPECT_EQ(all.value("reward"), 1.5);
  EXPECT_EQ(all.value("reward/math"), 1);
  EXPECT_EQ(all.value("no_reward"), 1);
  EXPECT_EQ(all.value("accuracy"), 0.5) << "an answer without a reward is not right";
}

TEST(EvaluationStatistics, AreTheSameNumbersInWhateverOrderRecordsCome) {
  std::vector<EvaluatedRecord> losses;
  for (int row = 0; row < 50; ++row) {
    losses.push_back({.row = row, .loss_sum = 0.1 * row + 1e-7 / (row + 1), .loss_tokens = 3});
  }
  const Statistics in_order = evaluation_statistics(losses, {});
  std::reverse(losses.begin(), losses.end());
  std::rotate(losses.begin(), losses.begin() + 17, losses.end());

  EXPECT_EQ(evaluation_statistics(losses, {}), in_order);
}

TEST(EvaluationStatistics, OfNoRecordAreNone) {
  EXPECT_TRUE(evaluation_statistics({}, {}).empty());
}

}  // namespace
}  // namespace orrery::metrics
