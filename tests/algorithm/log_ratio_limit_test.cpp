// No single token makes a loss or a reward infinite; metrics say what was there.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "orrery/algorithm/advantages.h"
#include "orrery/algorithm/kl_controller.h"
#include "orrery/algorithm/ppo_loss.h"
#include "orrery/algorithm/value_norm.h"

namespace orrery::algorithm {
namespace {

const at::Tensor kMask = at::ones({3}, at::kBool);

TEST(LogRatioLimit, HoldsInTheLossOfThePolicyButNotInItsMetrics) {
  const at::Tensor log_probs = at::tensor({-1.0, 100.0, -1.0}, at::kFloat).requires_grad_(true);
  const ActorLossInput input{.log_probs = log_probs,
                             .old_log_probs = at::tensor({-1.0, -1.0, -1.5}, at::kFloat),
                             .proximal_log_probs = {},
                             .advantages = at::tensor({1.0, -1.0, 1.0}, at::kFloat),
                             .mask = kMask};
  EXPECT_FALSE(at::isfinite(actor_loss(input, {}).loss).all().item<bool>());

  const ActorLoss limited = actor_loss(input, {.log_ratio_limit = 20});
  limited.loss.sum().backward();

  EXPECT_NEAR(limited.loss[1].item<double>(), std::exp(20.0), 1e3);
  EXPECT_TRUE(at::isfinite(log_probs.grad()).all().item<bool>());
  EXPECT_TRUE(std::isinf(limited.importance_weight[1].item<double>()));
  EXPECT_EQ(limited.approx_kl[1].item<double>(), 101);
  EXPECT_TRUE(at::equal(limited.bounded_mask.to(at::kInt), at::tensor({0, 1, 0}, at::kInt)));
}

TEST(LogRatioLimit, HoldsInTheWeightOfTheBehaviour) {
  const ActorLossInput input{.log_probs = at::tensor({-1.0, 99.0, -1.0}, at::kFloat),
                             .old_log_probs = at::tensor({-1.0, -1.0, -1.5}, at::kFloat),
                             .proximal_log_probs = at::tensor({-1.0, 99.0, -1.0}, at::kFloat),
                             .advantages = at::tensor({1.0, -1.0, 1.0}, at::kFloat),
                             .mask = kMask};

  const ActorLoss limited = actor_loss(input, {.log_ratio_limit = 20});

  EXPECT_TRUE(at::isfinite(limited.loss).all().item<bool>());
  EXPECT_TRUE(std::isinf(limited.behaviour_weight[1].item<double>()));
  EXPECT_EQ(limited.bounded_mask.sum().item<int64_t>(), 1);
}

TEST(LogRatioLimit, BoundsTheKlTermOfATokenByTen) {
  const at::Tensor log_probs = at::tensor({-1.0, -60.0, -5.0}, at::kFloat).requires_grad_(true);
  const at::Tensor reference = at::tensor({-1.2, -1.0, -1.0}, at::kFloat);

  const at::Tensor kl = reference_kl(log_probs, reference, kMask, 20);
  kl.sum().backward();

  EXPECT_NEAR(kl[0].item<double>(), std::exp(-0.2) + 0.2 - 1, 1e-6);
  EXPECT_EQ(kl[1].item<double>(), 10);
  EXPECT_EQ(kl[2].item<double>(), 10) << "e^4 - 5 is above 10 without any limit of the ratio";
  EXPECT_TRUE(at::isfinite(log_probs.grad()).all().item<bool>());
}

TEST(LogRatioLimit, HoldsInTheRewardsOfTheDivergence) {
  const ActionRewards rewards =
      action_rewards({.log_probs = at::tensor({-1.0, -90.0}, at::kFloat),
                      .ref_log_probs = at::tensor({-1.5, -1.0}, at::kFloat),
                      .scores = at::zeros({1}, at::kFloat),
                      .dense_scores = {},
                      .no_eos = at::zeros({1}, at::kBool)},
                     {.kl_coef = 0.1, .log_ratio_limit = 20}, {3});

  EXPECT_TRUE(at::allclose(rewards.kl_rewards, at::tensor({-0.05, 2.0}, at::kFloat)));
}

TEST(WhatIsRemembered, IsNotSpoiledByOneNumberThatIsNotFinite) {
  const double nan = std::nan("");
  KlController controller = KlController::adaptive(0.1, {.target = 6, .horizon = 100});
  controller.update(nan, 10);
  EXPECT_EQ(controller.value(), 0.1);

  ValueNorm norm({.kind = ValueNormKind::kMovingAverage});
  norm.update(at::tensor({1.0, 3.0}, at::kDouble), {});
  norm.update(at::tensor({nan, 1.0}, at::kDouble), {});
  norm.update(at::tensor({nan, 2.0}, at::kDouble),
              at::tensor({0, 1}, at::kInt).to(at::kBool));  // masked: it does not count
  EXPECT_EQ(norm.mean(), 2);
}

}  // namespace
}  // namespace orrery::algorithm
