// What an estimator makes of rewards that are no numbers, or too large ones.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/return_estimator.h"
#include "orrery/base/error.h"
#include "support/thread_communicator.h"

namespace orrery::algorithm {
namespace {

/// Two prompts with two answers each, of one prompt token and `answer` more.
data::SequenceBatch batch_with(const std::vector<float>& rewards) {
  const data::NestedLengths tokens = {{3, 2}, {4, 3}};
  data::SequenceBatch batch;
  batch.meta.ids = {{5}, {6}};
  batch.set("packed_input_ids", at::zeros({12}, at::kLong), tokens);
  batch.set("prompt_mask", at::tensor({1, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0}, at::kInt).to(at::kBool),
            tokens);
  batch.set("packed_logprobs", at::full({8}, -1, at::kFloat), action_lengths(tokens));
  batch.set("rewards", at::tensor(rewards, at::kFloat), one_each(tokens));
  batch.set("seq_no_eos_mask", at::zeros({4}, at::kBool), one_each(tokens));
  return batch;
}

Estimate estimate(const data::SequenceBatch& batch, const EstimationOptions& options) {
  Estimate result;
  comm::run_as_threads(1, [&](comm::Communicator& group) {
    result = ReturnEstimator(options).estimate(batch, group);
  });
  return result;
}

TEST(LeftOutAnswer, HasNoWeightAndIsInNoStatistic) {
  const Estimate got = estimate(batch_with({0.5F, NAN, 1, 2}), {});

  EXPECT_TRUE(at::equal(got.kept.to(at::kInt), at::tensor({1, 0, 1, 1}, at::kInt)));
  EXPECT_TRUE(
      at::equal(got.policy.mask.to(at::kInt), at::tensor({1, 1, 0, 1, 1, 1, 1, 1}, at::kInt)));
  EXPECT_TRUE(at::isfinite(got.policy.advantages).all().item<bool>());
  EXPECT_EQ(got.statistics.value("left_out_answers"), 1.0);
  EXPECT_EQ(got.statistics.value("n_seqs"), 3.0);
  EXPECT_NEAR(*got.statistics.value("task_reward"), 3.5 / 3, 1e-12);
  EXPECT_EQ(got.statistics.value("task_reward_min"), 0.5);
  EXPECT_EQ(got.statistics.value("incorrect_seq_len"), std::nullopt);
}

TEST(LeftOutAnswer, IsOneWithATokenWithoutAReward) {
  data::SequenceBatch batch = batch_with({1, 1, 1, 1});
  at::Tensor dense = at::ones({12}, at::kFloat);
  dense[4].fill_(NAN);  // of the second answer
  batch.set("dense_rewards", dense, batch.meta.at("packed_input_ids").lengths);

  const Estimate got = estimate(batch, {});

  EXPECT_TRUE(at::equal(got.kept.to(at::kInt), at::tensor({1, 0, 1, 1}, at::kInt)));
  EXPECT_TRUE(at::isfinite(got.policy.rewards).all().item<bool>());
}

TEST(LeftOutAnswer, OfTwoLeavesTheOtherWithoutABaseline) {
  const data::SequenceBatch batch = batch_with({3, NAN, 1, 2});
  const Estimate zero = estimate(batch, {.leave_one_out = true});
  const Estimate kept = estimate(batch, {.leave_one_out = true, .single_answer = "keep_reward"});

  EXPECT_EQ(zero.policy.rewards.sum().item<double>(), 0) << "1 - 2 and 2 - 1 are the others";
  EXPECT_EQ(zero.policy.rewards[1].item<double>(), 0);
  EXPECT_EQ(kept.policy.rewards[1].item<double>(), 3);
}

TEST(Rewards, ThatAreInfiniteOrBecomeSoAreRefused) {
  EXPECT_THROW(estimate(batch_with({0, INFINITY, 1, 2}), {}), CallError);
  EXPECT_THROW(estimate(batch_with({0, 3e38F, 1, 2}), {.reward_scaling = 10}), CallError);
}

TEST(Rewards, ThatAreClippedAreCounted) {
  const data::SequenceBatch batch = batch_with({-9, 5, 5.5F, NAN});

  const Estimate clipped = estimate(batch, {.max_reward_clip = 5});
  EXPECT_EQ(clipped.statistics.value("clipped_rewards"), 2.0);
  EXPECT_EQ(clipped.policy.rewards[1].item<double>(), -5);

  const Estimate free = estimate(batch, GrpoOptions());
  EXPECT_EQ(free.statistics.value("clipped_rewards"), std::nullopt);
  EXPECT_EQ(free.policy.rewards[1].item<double>(), -9);
}

}  // namespace
}  // namespace orrery::algorithm
