// Masks, rewards, advantages and normalisation against the recorded reference.
#include "algorithm/tensors_for_test.h"
#include "orrery/algorithm/advantages.h"
#include "orrery/comm/thread_communicator.h"
#include "orrery/data/batch_metadata.h"  // minibatch_sizes

namespace orrery::algorithm {
namespace {

/// What this program does where the reference is wrong or leaves a choice; reasons in
/// docs/decisions/0801.
const golden::QuirkChoices kChoices = {
    {"nan", {golden::Quirk::kOurs, "an empty mask gives 0, not NaN"}},
    {"variance-rounding", {golden::Quirk::kOurs, "equal values give 0: the variance is clamped"}},
    {"single-element-normalisation",
     {golden::Quirk::kOurs, "one valid element gives 0, also when unbiased"}},
};

std::vector<int32_t> plus_one(std::vector<int32_t> lengths) {
  for (int32_t& n : lengths) ++n;
  return lengths;
}

TEST(AdvantagesGolden, RewardsOfActionsAreThoseOfTheReference) {
  golden::for_each_case("ppo_prepare.json", "rewards", [](const golden::Case& c) {
    const std::vector<int32_t> lengths = plus_one(golden::int32s(c["reward_lens"]));
    RewardInput input;
    input.log_probs = float_tensor(c["log_probs"]);
    input.ref_log_probs = float_tensor(c["ref_log_probs"]);
    input.no_eos = c.has("seq_no_eos_mask")
                       ? bool_tensor(c["seq_no_eos_mask"])
                       : at::zeros({static_cast<int64_t>(lengths.size())}, at::kBool);
    if (c["kind"] == "dense") {
      input.dense_scores = float_tensor(c["dense_reward_score"]);
    } else {
      input.scores = float_tensor(c["reward_score"]);
    }

    const ActionRewards rewards = action_rewards(
        input,
        {.kl_ctl = c["kl_ctl"].get<double>(),
         .clip = c["clip_reward_value"].get<double>(),
         .mask_no_eos_with_zero = c.has("mask_no_eos_with_zero") && c["mask_no_eos_with_zero"],
         .reward_delta = !c.has("reward_delta") || c["reward_delta"].get<bool>()},
        lengths);

    expect_near(rewards.kl_rewards, c.expect()["kl_rewards"], "kl_rewards");
    expect_near(rewards.rewards, c.expect()["rewards"], "rewards");
  });
}

TEST(AdvantagesGolden, MaskedNormalisationIsThatOfTheReference) {
  golden::for_each_case(
      "ppo_prepare.json", "masked_normalization",
      [](const golden::Case& c) {
        const at::Tensor mask = c.has("mask") ? bool_tensor(c["mask"]) : at::Tensor();
        const at::Tensor x = float_tensor(c["x"]);

        const at::Tensor y = masked_normalization(
            x, mask, nullptr,
            c["unbiased"].get<bool>() ? Variance::kUnbiased : Variance::kPopulation,
            c["eps"].get<double>());

        if (c.choice == golden::Quirk::kOurs) {
          const at::Tensor counted = mask.defined() ? y.masked_select(mask) : y;
          EXPECT_TRUE(at::all(counted == 0).item<bool>()) << counted;
          EXPECT_TRUE(at::all(at::isfinite(y)).item<bool>());
          return;
        }
        // The reference's fp32 variant loses digits in E[x^2] - mean^2; we always use double.
        expect_near(y, c.expect()["y"], "y", c["high_precision"].get<bool>() ? 1 : 500);
      },
      {.quirks = kChoices, .left_out = {}, .leave_out_if = {}});
}

TEST(AdvantagesGolden, NormalisationOverRanksUsesTheSumsOfAll) {
  golden::for_each_case("ppo_prepare.json", "masked_normalization_dp", [](const golden::Case& c) {
    const int n_ranks = c["n_ranks"];
    std::vector<at::Tensor> results(static_cast<size_t>(n_ranks));

    comm::run_as_threads(n_ranks, [&](comm::Communicator& group) {
      const auto rank = static_cast<size_t>(group.rank());
      const at::Tensor mask = c.has("mask") ? bool_tensor(c["mask"][rank]) : at::Tensor();
      results[rank] = masked_normalization(float_tensor(c["x"][rank]), mask, &group);
    });

    for (size_t rank = 0; rank < results.size(); ++rank) {
      expect_near(results[rank], c.expect()["y"][rank], "rank " + std::to_string(rank));
    }
  });
}

TEST(AdvantagesGolden, LogProbabilitiesOfActionsBelongToTheNextToken) {
  golden::for_each_case("ppo_prepare.json", "packed_logprobs", [](const golden::Case& c) {
    const NextTokens next =
        next_tokens(float_tensor(c["logits"]).view({-1, c["vocab"].get<int64_t>()}),
                    golden::integers(c["input_ids"]), golden::int32s(c["seqlens"]));

    expect_near(next.log_probs, c.expect()["logprobs"], "log-probabilities", 3);
    expect_near(next.entropy, c.expect()["entropy"], "entropy", 3);
  });
}

/// Option of a train_step case, or its default.
double option(const golden::Case& c, const char* name, double otherwise) {
  const nlohmann::json& options = c["options"];
  if (!options.contains(name) || options[name].is_null()) return otherwise;
  return options[name].is_boolean() ? (options[name].get<bool>() ? 1 : 0)
                                    : options[name].get<double>();
}

TEST(AdvantagesGolden, ActorsTrainStepIsPreparedAsTheReferenceDoes) {
  golden::for_each_case(
      "ppo_prepare.json", "train_step",
      [](const golden::Case& c) {
        const nlohmann::json& in = c["inputs"];
        const nlohmann::json& expected = c.expect();
        std::vector<int32_t> lengths;
        for (const auto& sample : c["seqlens"]) {
          for (const auto& member : sample) lengths.push_back(member.get<int32_t>());
        }
        const at::Tensor no_eos = bool_tensor(in["seq_no_eos_mask"]);
        const double kl_ctl = option(c, "kl_ctl", 0.1);

        at::Tensor mask = action_mask(bool_tensor(in["prompt_mask"]), lengths);
        if (option(c, "mask_too_long", 0) != 0) {
          mask = mask.logical_and(per_action(no_eos, lengths).logical_not());
        }
        const at::Tensor old_logp = float_tensor(in["packed_logprobs"]) * mask;
        RewardInput input{.log_probs = old_logp,
                          .ref_log_probs = {},
                          .scores = float_tensor(in["rewards"]),
                          .dense_scores = {},
                          .no_eos = no_eos};
        if (kl_ctl > 0) input.ref_log_probs = float_tensor(in["packed_ref_logprobs"]) * mask;
        const ActionRewards rewards =
            action_rewards(input,
                           {.kl_ctl = kl_ctl,
                            .clip = option(c, "max_reward_clip", 5),
                            .mask_no_eos_with_zero = option(c, "mask_no_eos_with_zero", 0) != 0},
                           lengths);
        // Without a critic the values are 0, as when the option disables them.
        const bool has_values = in.contains("values") && option(c, "disable_value", 0) == 0;
        const int64_t n_tokens =
            static_cast<int64_t>(golden::integers(in["packed_input_ids"]).size());
        const at::Tensor values =
            has_values ? float_tensor(in["values"]) : at::zeros({n_tokens}, at::kFloat);
        const Advantages estimated =
            estimate_advantages(rewards.rewards, values, no_eos, lengths, option(c, "discount", 1),
                                option(c, "gae_lambda", 1));

        expect_near(mask, expected["loss_mask"], "loss_mask");
        expect_near(old_logp, expected["old_logp"], "old_logp");
        expect_near(rewards.kl_rewards, expected["kl_rewards"], "kl_rewards");
        expect_near(rewards.rewards, expected["rewards"], "rewards");
        expect_near(estimated.advantages, expected["advantages_before_norm"], "advantages", 3);
        expect_near(estimated.returns, expected["returns"], "returns", 3);
        at::Tensor normalised = estimated.advantages;
        if (option(c, "group_adv_norm", 0) != 0) {
          normalised = normalize_by_group(normalised, mask, lengths,
                                          static_cast<int64_t>(option(c, "group_size", 1)));
        } else if (option(c, "adv_norm", 1) != 0) {
          normalised = masked_normalization(normalised, mask);
        }
        expect_near(normalised, expected["advantages"], "normalised advantages", 10);
        // The cut into minibatches; which sequence goes where is our own order (Philox).
        const auto n_minibatches = static_cast<int>(option(c, "n_minibatches", 1));
        const std::vector<int> sizes =
            data::minibatch_sizes(static_cast<int>(lengths.size()), n_minibatches);
        ASSERT_GE(expected["minibatches"].size(), sizes.size());
        for (size_t i = 0; i < sizes.size(); ++i) {
          EXPECT_EQ(expected["minibatches"][i]["sequences"].size(), static_cast<size_t>(sizes[i]));
        }
      },
      {.quirks = kChoices,
       .left_out = {},
       .leave_out_if = [](const golden::Case& c) -> std::string {
         if (c["interface"] == "critic") return "critic: PPO graph";
         if (option(c, "value_norm", 0) != 0) return "value normalisation: PPO graph";
         if (c.has("runs")) return "value normalisation: PPO graph";
         return "";
       }});
}

TEST(AdvantagesGolden, PaddedRewardsAreNotUsed) {
  golden::leave_out_section("ppo_prepare.json", "padded_rewards",
                            "batches are packed: there is no padding");
}

}  // namespace
}  // namespace orrery::algorithm
