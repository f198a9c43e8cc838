// No single token makes a loss or a reward infinite; metrics say what was there.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "orrery/algorithm/advantages.h"
#include "orrery/algorithm/kl_controller.h"
#include "orrery/algorithm/kl_estimate.h"
#include "orrery/algorithm/policy_objective.h"
#include "orrery/algorithm/value_norm.h"

namespace orrery::algorithm {
namespace {

const at::Tensor kMask = at::ones({3}, at::kBool);

PolicyLoss loss_with(const ObjectiveInput& input, double log_ratio_limit) {
  ObjectiveOptions options;
  options.surrogate.eps_low = 0.2;
  options.surrogate.eps_high = 0.2;
  if (input.proximal_log_probs.defined()) options.proximal.kind = Proximal::kGiven;
  options.log_ratio_limit = log_ratio_limit;
  return policy_objective(input, options, totals_of(input.lengths, input.mask, {}, options));
}

TEST(LogRatioLimit, HoldsInTheLossOfThePolicyButNotInItsMetrics) {
  const at::Tensor log_probs = at::tensor({-1.0, 100.0, -1.0}, at::kFloat).requires_grad_(true);
  const ObjectiveInput input{.lengths = {3},
                             .log_probs = log_probs,
                             .old_log_probs = at::tensor({-1.0, -1.0, -1.5}, at::kFloat),
                             .proximal_log_probs = {},
                             .ref_log_probs = {},
                             .advantages = at::tensor({1.0, -1.0, 1.0}, at::kFloat),
                             .entropies = {},
                             .high_entropy = {},
                             .rollout_weights = {},
                             .versions = {},
                             .mask = kMask};
  EXPECT_FALSE(at::isfinite(loss_with(input, 0).loss).all().item<bool>());

  const PolicyLoss limited = loss_with(input, 20);
  limited.loss.sum().backward();

  EXPECT_NEAR(limited.loss[1].item<double>(), std::exp(20.0), 1e3);
  EXPECT_TRUE(at::isfinite(log_probs.grad()).all().item<bool>());
  EXPECT_TRUE(std::isinf(limited.ratio[1].item<double>()));
  EXPECT_EQ(limited.log_ratio[1].item<double>(), 101);
  EXPECT_TRUE(at::equal(limited.bounded_mask.to(at::kInt), at::tensor({0, 1, 0}, at::kInt)));
}

TEST(LogRatioLimit, HoldsInTheWeightOfTheBehaviour) {
  const ObjectiveInput input{.lengths = {3},
                             .log_probs = at::tensor({-1.0, 99.0, -1.0}, at::kFloat),
                             .old_log_probs = at::tensor({-1.0, -1.0, -1.5}, at::kFloat),
                             .proximal_log_probs = at::tensor({-1.0, 99.0, -1.0}, at::kFloat),
                             .ref_log_probs = {},
                             .advantages = at::tensor({1.0, -1.0, 1.0}, at::kFloat),
                             .entropies = {},
                             .high_entropy = {},
                             .rollout_weights = {},
                             .versions = {},
                             .mask = kMask};

  const PolicyLoss limited = loss_with(input, 20);

  EXPECT_TRUE(at::isfinite(limited.loss).all().item<bool>());
  EXPECT_TRUE(std::isinf(limited.behaviour_weight[1].item<double>()));
  EXPECT_EQ(limited.bounded_mask.sum().item<int64_t>(), 1);
}

TEST(LogRatioLimit, BoundsTheKlTermOfATokenByTen) {
  const at::Tensor log_probs = at::tensor({-1.0, -60.0, -5.0}, at::kFloat).requires_grad_(true);
  const at::Tensor reference = at::tensor({-1.2, -1.0, -1.0}, at::kFloat);

  const at::Tensor kl = kl_estimate(KlEstimator::kK3, log_probs, reference, kMask, 20);
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
