// Masks, rewards, advantages and normalisation against the recorded reference.
#include "algorithm/tensors_for_test.h"
#include "orrery/algorithm/advantages.h"
#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/minibatches.h"
#include "orrery/algorithm/return_estimator.h"
#include "orrery/comm/thread_communicator.h"

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

const std::vector<std::string> kIds = {"packed_input_ids"};

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
        {.kl_coef = c["kl_ctl"].get<double>(),
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

EstimationOptions options_of(const golden::Case& c) {
  EstimationOptions options;
  options.n_minibatches = static_cast<int64_t>(option(c, "n_minibatches", 1));
  options.ppo_epochs = static_cast<int64_t>(option(c, "sample_reuse", 1));
  options.kl_coef = option(c, "kl_ctl", 0.1);
  options.discount = option(c, "discount", 1);
  options.gae_lambda = option(c, "gae_lambda", c["interface"] == "critic" ? 0.95 : 1);
  options.max_reward_clip = option(c, "max_reward_clip", 5);
  options.mask_no_eos_with_zero = option(c, "mask_no_eos_with_zero", 0) != 0;
  options.mask_too_long = option(c, "mask_too_long", 0) != 0;
  options.value_norm = option(c, "value_norm", 0) != 0;
  options.value_norm_type = c["options"].value("value_norm_type", "exp");
  options.value_norm_beta = option(c, "value_norm_beta", 0.99995);
  options.value_norm_eps = option(c, "value_norm_eps", 1e-5);
  return options;
}

/// The inputs of a train_step case as a batch.
data::SequenceBatch batch_of(const golden::Case& c) {
  const nlohmann::json& in = c["inputs"];
  data::NestedLengths tokens;
  for (const auto& sample : c["seqlens"]) tokens.add_sample(golden::int32s(sample));
  data::SequenceBatch batch;
  for (size_t i = 0; i < tokens.size(); ++i) batch.meta.ids.push_back({i});
  batch.set("packed_input_ids", at::tensor(golden::integers(in["packed_input_ids"]), at::kLong),
            tokens);
  batch.set("prompt_mask", bool_tensor(in["prompt_mask"]), tokens);
  batch.set("packed_logprobs", float_tensor(in["packed_logprobs"]), action_lengths(tokens));
  if (in.contains("packed_ref_logprobs")) {
    batch.set("packed_ref_logprobs", float_tensor(in["packed_ref_logprobs"]),
              action_lengths(tokens));
  }
  batch.set("rewards", float_tensor(in["rewards"]), one_each(tokens));
  batch.set("seq_no_eos_mask", bool_tensor(in["seq_no_eos_mask"]), one_each(tokens));
  if (in.contains("values") && option(c, "disable_value", 0) == 0) {
    batch.set("values", float_tensor(in["values"]), tokens);
  }
  return batch;
}

TEST(AdvantagesGolden, TrainStepsArePreparedAsTheReferenceDoes) {
  golden::for_each_case(
      "ppo_prepare.json", "train_step",
      [](const golden::Case& c) {
        const nlohmann::json& expected = c.expect();
        const EstimationOptions options = options_of(c);
        const data::SequenceBatch batch = batch_of(c);
        const data::NestedLengths& tokens = batch.meta.at("packed_input_ids").lengths;
        ReturnEstimator estimator(options);
        if (c.has("value_norm_updates_before")) {
          ValueNorm before = estimator.value_norm();
          for (const auto& update : c["value_norm_updates_before"]) {
            before.update(float_tensor(update), {});
          }
          estimator.restore(options.kl_coef, before.state());
        }

        Estimate got;
        comm::run_as_threads(
            1, [&](comm::Communicator& group) { got = estimator.estimate(batch, group); });

        const PolicyBatch& policy = got.policy;
        expect_near(policy.mask, expected["loss_mask"], "loss_mask");
        expect_near(policy.log_probs, expected["old_logp"], "old_logp");
        expect_near(policy.kl_rewards, expected["kl_rewards"], "kl_rewards");
        expect_near(policy.rewards, expected["rewards"], "rewards");
        if (expected.contains("gae_values")) {
          expect_near(policy.values, expected["gae_values"], "values");
        }
        expect_near(policy.returns, expected["returns"], "returns", 3);
        if (expected.contains("returns_for_loss")) {
          expect_near(got.normalized_returns, expected["returns_for_loss"], "returns_for_loss", 3);
        }
        if (expected.contains("value_norm_after")) {
          const nlohmann::json& after = expected["value_norm_after"];
          EXPECT_NEAR(estimator.value_norm().mean(), after["mean"].get<double>(), 1e-6);
          EXPECT_NEAR(estimator.value_norm().std(), after["std"].get<double>(), 1e-6);
        }
        if (c["interface"] == "actor") {
          expect_near(policy.advantages, expected["advantages_before_norm"], "advantages", 3);
          at::Tensor normalised = policy.advantages;
          if (option(c, "group_adv_norm", 0) != 0) {
            normalised = normalize_by_group(normalised, policy.mask, tokens.flat(),
                                            static_cast<int64_t>(option(c, "group_size", 1)));
          } else if (option(c, "adv_norm", 1) != 0) {
            normalised = masked_normalization(normalised, policy.mask);
          }
          expect_near(normalised, expected["advantages"], "normalised advantages", 10);
        }
        // The cut into minibatches; which sequence goes where is our own order (Philox).
        const auto parts = minibatches_of(by_sequence(batch.select(kIds)), {},
                                          options.n_minibatches, options.ppo_epochs);
        ASSERT_EQ(expected["minibatches"].size(), parts.size());
        for (size_t i = 0; i < parts.size(); ++i) {
          EXPECT_EQ(expected["minibatches"][i]["sequences"].size(), parts[i].size());
        }
      },
      {.quirks = kChoices, .left_out = {}, .leave_out_if = {}});
}

TEST(AdvantagesGolden, PaddedRewardsAreNotUsed) {
  golden::leave_out_section("ppo_prepare.json", "padded_rewards",
                            "batches are packed: there is no padding");
}

}  // namespace
}  // namespace orrery::algorithm
