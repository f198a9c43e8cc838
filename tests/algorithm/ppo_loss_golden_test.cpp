// The policy loss against the recorded reference: values, gradients, statistics per token.
#include "algorithm/tensors_for_test.h"
#include "orrery/algorithm/critic_loss.h"
#include "orrery/algorithm/masked_statistics.h"
#include "orrery/algorithm/policy_batch.h"
#include "orrery/algorithm/policy_objective.h"
#include "orrery/base/error.h"

namespace orrery::algorithm {
namespace {

std::optional<double> optional_number(const golden::Case& c, const char* field) {
  return c.has(field) ? std::optional<double>(c[field].get<double>()) : std::nullopt;
}

ObjectiveInput input_of(const golden::Case& c, const at::Tensor& log_probs) {
  ObjectiveInput input;
  input.lengths = {static_cast<int32_t>(log_probs.numel())};
  input.log_probs = log_probs;
  input.old_log_probs = float_tensor(c["old_logprobs"]);
  if (c.has("proximal_logprobs")) input.proximal_log_probs = float_tensor(c["proximal_logprobs"]);
  input.advantages = float_tensor(c["advantages"]);
  input.mask =
      c.has("loss_mask") ? bool_tensor(c["loss_mask"]) : at::ones({log_probs.numel()}, at::kBool);
  return input;
}

ObjectiveOptions options_of(const golden::Case& c) {
  const double range = c["eps_clip"].get<double>();
  ObjectiveOptions options;
  options.surrogate.eps_low = range;
  options.surrogate.eps_high = range;
  options.surrogate.dual_clip = optional_number(c, "c_clip");
  if (c.has("proximal_logprobs")) options.proximal.kind = Proximal::kGiven;
  options.proximal.weight_cap = optional_number(c, "behav_imp_weight_cap");
  return options;
}

PolicyLoss loss_of(const ObjectiveInput& input, const ObjectiveOptions& options) {
  return policy_objective(input, options, totals_of(input.lengths, input.mask, {}, options));
}

/// Sum over the mask divided by the number of tokens in it.
at::Tensor mean_loss(const PolicyLoss& loss, const at::Tensor& mask) {
  return loss.loss_sum / std::max(1.0, mask.sum().item<double>());
}

TEST(PpoLossGolden, ActorLossAndGradientAreThoseOfTheReference) {
  golden::for_each_case("ppo_loss.json", "actor", [](const golden::Case& c) {
    const at::Tensor log_probs = float_tensor(c["logprobs"]).requires_grad_(true);
    const ObjectiveInput input = input_of(c, log_probs);

    const PolicyLoss loss = loss_of(input, options_of(c));
    const at::Tensor mean = mean_loss(loss, input.mask);
    mean.backward();

    const golden::Fields& expected = c.expect();
    expect_near(mean, expected.at("loss"), "loss");
    expect_near(log_probs.grad(), expected.at("grad_logprobs"), "gradient");
    const nlohmann::json& stats = expected.at("stats");
    expect_near(loss.loss, stats.at("loss"), "loss per token");
    expect_near(loss.ratio, stats.at("importance_weight"), "importance_weight");
    expect_near(loss.log_ratio, stats.at("approx_kl"), "approx_kl");
    expect_near(loss.clipped_low.logical_or(loss.clipped_high), stats.at("clip_mask"), "clip_mask");
    expect_near(loss.clipped_dual, stats.at("dual_clip_mask"), "dual_clip_mask");
    if (stats.contains("behave_imp_weight")) {
      expect_near(loss.behaviour_weight, stats.at("behave_imp_weight"), "behave_imp_weight");
      expect_near(loss.behaviour_log_ratio, stats.at("behave_approx_kl"), "behave_approx_kl");
      expect_near(loss.behaviour_mask, stats.at("behave_mask"), "behave_mask");
    }
  });
}

/// What the train engine does with a loss whose watched means are above their ceilings.
bool is_stopped_early(const golden::Case& c, const PolicyLoss& loss, const at::Tensor& mask) {
  const double count = mask.sum().item<double>();
  const auto above = [&](const char* limit, const at::Tensor& watched) {
    return c.has(limit) && masked_sum(watched, mask) / count > c[limit].get<double>();
  };
  return above("early_stop_imp_ratio", loss.ratio) || above("early_stop_kl", loss.log_ratio);
}

TEST(PpoLossGolden, LossFromLogitsHasTheReferencesGradient) {
  golden::for_each_case("ppo_loss.json", "actor_from_logits", [](const golden::Case& c) {
    const std::vector<int32_t> lengths = golden::int32s(c["seqlens"]);
    const at::Tensor logits =
        float_tensor(c["logits"]).view({-1, c["vocab"].get<int64_t>()}).requires_grad_(true);
    const NextTokens next = next_tokens(logits / optional_number(c, "temperature").value_or(1),
                                        golden::integers(c["input_ids"]), lengths);
    const ObjectiveInput input = input_of(c, next.log_probs);

    const PolicyLoss loss = loss_of(input, options_of(c));
    const at::Tensor mean =
        mean_loss(loss, input.mask) * (is_stopped_early(c, loss, input.mask) ? 0 : 1);
    mean.backward();

    const golden::Fields& expected = c.expect();
    expect_near(next.log_probs, expected.at("logprobs"), "log-probabilities", 3);
    expect_near(next.entropy, expected.at("entropy"), "entropy", 3);
    expect_near(mean, expected.at("loss"), "loss", 3);
    expect_near(logits.grad(), expected.at("grad_logits"), "gradient", 3);
  });
}

const golden::QuirkChoices kCriticChoices = {
    {"nan-when-all-masked", {golden::Quirk::kOurs, "an empty mask has loss 0, not NaN"}}};

TEST(PpoLossGolden, CriticLossAndGradientAreThoseOfTheReference) {
  golden::for_each_case(
      "ppo_loss.json", "critic",
      [](const golden::Case& c) {
        const at::Tensor values = float_tensor(c["value"]).requires_grad_(true);
        const at::Tensor mask = c.has("loss_mask") ? bool_tensor(c["loss_mask"])
                                                   : at::ones({values.numel()}, at::kBool);

        const CriticLoss loss =
            critic_loss({.values = values,
                         .old_values = float_tensor(c["old_value"]),
                         .targets = float_tensor(c["target_value"]),
                         .mask = mask},
                        {.clip_range = c["value_eps_clip"].get<double>(),
                         .distance = value_distance_named(c["loss_fn_type"].get<std::string>())});
        const at::Tensor mean =
            at::where(mask, loss.loss, 0.0).sum() / std::max(1.0, mask.sum().item<double>());
        mean.backward();

        if (c.choice == golden::Quirk::kOurs) {
          EXPECT_EQ(mean.item<double>(), 0);
          EXPECT_TRUE(at::all(values.grad() == 0).item<bool>());
          return;
        }
        const golden::Fields& expected = c.expect();
        expect_near(mean, expected.at("loss"), "loss");
        expect_near(values.grad(), expected.at("grad_value"), "gradient");
        expect_near(loss.loss, expected.at("stats").at("loss"), "loss per token");
        expect_near(loss.clip_mask, expected.at("stats").at("clip_mask"), "clip_mask");
      },
      {.quirks = kCriticChoices});
}

TEST(PpoLossGolden, CriticLossOfTokensDropsEachSequencesLastValue) {
  golden::for_each_case("ppo_loss.json", "critic_from_values", [](const golden::Case& c) {
    const std::vector<int32_t> lengths = golden::int32s(c["seqlens"]);
    const at::Tensor values = float_tensor(c["new_values"]).requires_grad_(true);
    const at::Tensor mask = bool_tensor(c["loss_mask"]);

    const CriticLoss loss =
        critic_loss({.values = without_last(values, lengths),
                     .old_values = without_last(float_tensor(c["values"]), lengths),
                     .targets = float_tensor(c["returns"]),
                     .mask = mask},
                    {.clip_range = c["value_eps_clip"].get<double>()});
    const at::Tensor mean = at::where(mask, loss.loss, 0.0).sum() / mask.sum();
    mean.backward();

    expect_near(mean, c.expect().at("loss"), "loss");
    expect_near(values.grad(), c.expect().at("grad_new_values"), "gradient");
    const nlohmann::json& stats = c.expect().at("stats");
    // A name without a valid token is left out there.
    if (!stats.contains("clip_ratio/avg")) return;
    golden::expect_close(loss.clip_mask.sum().item<double>() / mask.sum().item<double>(),
                         stats.at("clip_ratio/avg"), "clip_ratio");
  });
}

}  // namespace
}  // namespace orrery::algorithm
