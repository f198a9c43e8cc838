// The policy loss against the recorded reference: values, gradients, statistics per token.
#include "algorithm/tensors_for_test.h"
#include "orrery/algorithm/ppo_loss.h"
#include "orrery/base/error.h"

namespace orrery::algorithm {
namespace {

std::optional<double> optional_number(const golden::Case& c, const char* field) {
  return c.has(field) ? std::optional<double>(c[field].get<double>()) : std::nullopt;
}

ActorLossInput input_of(const golden::Case& c, const at::Tensor& log_probs) {
  ActorLossInput input;
  input.log_probs = log_probs;
  input.old_log_probs = float_tensor(c["old_logprobs"]);
  if (c.has("proximal_logprobs")) input.proximal_log_probs = float_tensor(c["proximal_logprobs"]);
  input.advantages = float_tensor(c["advantages"]);
  input.mask =
      c.has("loss_mask") ? bool_tensor(c["loss_mask"]) : at::ones({log_probs.numel()}, at::kBool);
  return input;
}

ActorLossOptions options_of(const golden::Case& c) {
  return {.eps_clip = c["eps_clip"].get<double>(),
          .c_clip = optional_number(c, "c_clip"),
          .behaviour_weight_cap = optional_number(c, "behav_imp_weight_cap")};
}

/// Sum over the mask divided by the number of tokens in it.
at::Tensor mean_loss(const ActorLoss& loss, const at::Tensor& mask) {
  const double count = std::max(1.0, mask.sum().item<double>());
  return at::where(mask, loss.loss, 0.0).sum() / count;
}

TEST(PpoLossGolden, ActorLossAndGradientAreThoseOfTheReference) {
  golden::for_each_case("ppo_loss.json", "actor", [](const golden::Case& c) {
    const at::Tensor log_probs = float_tensor(c["logprobs"]).requires_grad_(true);
    const ActorLossInput input = input_of(c, log_probs);
    if (c.expects_error()) {
      EXPECT_THROW(actor_loss(input, options_of(c)), ConfigError);
      return;
    }

    const ActorLoss loss = actor_loss(input, options_of(c));
    const at::Tensor mean = mean_loss(loss, input.mask);
    mean.backward();

    const nlohmann::json& expected = c.expect();
    expect_near(mean, nlohmann::json::array({expected["loss"]}), "loss");
    expect_near(log_probs.grad(), expected["grad_logprobs"], "gradient");
    const nlohmann::json& stats = expected["stats"];
    expect_near(loss.loss, stats["loss"], "loss per token");
    expect_near(loss.importance_weight, stats["importance_weight"], "importance_weight");
    expect_near(loss.approx_kl, stats["approx_kl"], "approx_kl");
    expect_near(loss.clip_mask, stats["clip_mask"], "clip_mask");
    expect_near(loss.dual_clip_mask, stats["dual_clip_mask"], "dual_clip_mask");
    if (stats.contains("behave_imp_weight")) {
      expect_near(loss.behaviour_weight, stats["behave_imp_weight"], "behave_imp_weight");
      expect_near(loss.behaviour_kl, stats["behave_approx_kl"], "behave_approx_kl");
      expect_near(loss.behaviour_mask, stats["behave_mask"], "behave_mask");
    }
  });
}

TEST(PpoLossGolden, LossFromLogitsHasTheReferencesGradient) {
  golden::for_each_case(
      "ppo_loss.json", "actor_from_logits",
      [](const golden::Case& c) {
        const std::vector<int32_t> lengths = golden::int32s(c["seqlens"]);
        const at::Tensor logits =
            float_tensor(c["logits"]).view({-1, c["vocab"].get<int64_t>()}).requires_grad_(true);
        const NextTokens next = next_tokens(logits / optional_number(c, "temperature").value_or(1),
                                            golden::integers(c["input_ids"]), lengths);
        const ActorLossInput input = input_of(c, next.log_probs);

        const at::Tensor mean = mean_loss(actor_loss(input, options_of(c)), input.mask);
        mean.backward();

        const nlohmann::json& expected = c.expect();
        expect_near(next.log_probs, expected["logprobs"], "log-probabilities", 3);
        expect_near(next.entropy, expected["entropy"], "entropy", 3);
        expect_near(mean, nlohmann::json::array({expected["loss"]}), "loss", 3);
        expect_near(logits.grad(), expected["grad_logits"], "gradient", 3);
      },
      {.quirks = {}, .left_out = {}, .leave_out_if = [](const golden::Case& c) -> std::string {
         return c.has("early_stop_imp_ratio") || c.has("early_stop_kl")
                    ? "early stopping: PPO graph"
                    : "";
       }});
}

TEST(PpoLossGolden, CriticSectionsBelongToThePpoGraph) {
  golden::leave_out_section("ppo_loss.json", "critic", "critic: PPO graph");
  golden::leave_out_section("ppo_loss.json", "critic_from_values", "critic: PPO graph");
}

}  // namespace
}  // namespace orrery::algorithm
