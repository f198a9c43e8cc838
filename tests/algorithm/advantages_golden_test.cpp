// Masks, rewards, advantages and normalisation against the recorded reference.
#include "algorithm/tensors_for_test.h"
#include "orrery/algorithm/advantages.h"
#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/minibatches.h"
#include "orrery/algorithm/return_estimator.h"
#include "support/thread_communicator.h"

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

    const ActionRewards rewards =
        action_rewards(input,
                       {.kl_coef = c.value("kl_ctl", 0.1),
                        .clip = c.value("clip_reward_value", 5.0),
                        .mask_no_eos_with_zero = c.value("mask_no_eos_with_zero", false),
                        .reward_delta = c.value("reward_delta", true)},
                       lengths);

    expect_near(rewards.kl_rewards, c.expect().at("kl_rewards"), "kl_rewards");
    expect_near(rewards.rewards, c.expect().at("rewards"), "rewards");
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
            c.value("unbiased", false) ? Variance::kUnbiased : Variance::kPopulation,
            c.value("eps", 1e-5));

        if (c.choice == golden::Quirk::kOurs) {
          const at::Tensor counted = mask.defined() ? y.masked_select(mask) : y;
          EXPECT_TRUE(at::all(counted == 0).item<bool>()) << counted;
          EXPECT_TRUE(at::all(at::isfinite(y)).item<bool>());
          return;
        }
        // The reference's fp32 variant loses digits in E[x^2] - mean^2; we always use double.
        expect_near(y, c.expect().at("y"), "y", c.value("high_precision", true) ? 1 : 500);
      },
      {.quirks = kChoices});
}

TEST(MaskedNormalization, KeepsASmallDeviationFromALargeMean) {
  const at::Tensor x = at::tensor({1e6 + 0.0625, 1e6 - 0.0625, 1e6, 1e6}, at::kFloat);

  const at::Tensor y = masked_normalization(x, {});

  const double std = 0.0625 / std::sqrt(2.0) + 1e-5;
  EXPECT_TRUE(at::allclose(y, at::tensor({0.0625 / std, -0.0625 / std, 0.0, 0.0}, at::kFloat)))
      << y;
}

TEST(MaskedNormalization, GivesExactlyZeroForEqualValuesWhateverTheirSize) {
  for (const double value : {0.1, -3.3, 1e-30, 1e8 + 0.1, 7.7e20}) {
    for (const int64_t n : {1, 3, 7, 1000}) {
      const at::Tensor y = masked_normalization(at::full({n}, value, at::kDouble), {}, nullptr,
                                                Variance::kPopulation, 1e-300);
      EXPECT_TRUE(at::all(y == 0).item<bool>()) << n << " times " << value;
    }
  }
}

TEST(AdvantagesGolden, NormalisationOverRanksUsesTheSumsOfAll) {
  golden::for_each_case("ppo_prepare.json", "masked_normalization_dp", [](const golden::Case& c) {
    const int n_ranks = c["n_ranks"];
    std::vector<at::Tensor> results(static_cast<size_t>(n_ranks));

    comm::run_as_threads(n_ranks, [&](comm::Communicator& group) {
      const auto rank = static_cast<size_t>(group.rank());
      const at::Tensor mask = c.has("mask") ? bool_tensor(c["mask"].at(rank)) : at::Tensor();
      results[rank] = masked_normalization(float_tensor(c["x"].at(rank)), mask, &group);
    });

    for (size_t rank = 0; rank < results.size(); ++rank) {
      expect_near(results[rank], c.expect().at("y").at(rank), "rank " + std::to_string(rank));
    }
  });
}

TEST(AdvantagesGolden, LogProbabilitiesOfActionsBelongToTheNextToken) {
  golden::for_each_case("ppo_prepare.json", "packed_logprobs", [](const golden::Case& c) {
    const NextTokens next =
        next_tokens(float_tensor(c["logits"]).view({-1, c["vocab"].get<int64_t>()}),
                    golden::integers(c["input_ids"]), golden::int32s(c["seqlens"]));

    expect_near(next.log_probs, c.expect().at("logprobs"), "log-probabilities", 3);
    expect_near(next.entropy, c.expect().at("entropy"), "entropy", 3);
  });
}

/// Option of a train_step case, or its default.
double option(const golden::Case& c, const char* name, double otherwise) {
  const nlohmann::json& options = c["options"];
  const auto found = options.find(name);
  return found == options.end() || found->is_null() ? otherwise : golden::to_double(*found);
}

bool flag(const golden::Case& c, const char* name, bool otherwise) {
  return option(c, name, otherwise ? 1 : 0) != 0;
}

EstimationOptions options_of(const golden::Case& c) {
  EstimationOptions options;
  options.n_minibatches = static_cast<int64_t>(option(c, "n_minibatches", 1));
  options.ppo_epochs = static_cast<int64_t>(option(c, "sample_reuse", 1));
  options.kl_coef = option(c, "kl_ctl", 0.1);
  options.discount = option(c, "discount", 1);
  options.gae_lambda = option(c, "gae_lambda", c["interface"] == "critic" ? 0.95 : 1);
  options.max_reward_clip = option(c, "max_reward_clip", 5);
  options.mask_no_eos_with_zero = flag(c, "mask_no_eos_with_zero", false);
  options.mask_too_long = flag(c, "mask_too_long", false);
  options.value_norm = flag(c, "value_norm", false);
  const auto type = c["options"].find("value_norm_type");
  options.value_norm_type =
      type == c["options"].end() || type->is_null() ? "exp" : type->get<std::string>();
  options.reward_delta = flag(c, "reward_delta", true);
  options.value_norm_beta = option(c, "value_norm_beta", 0.99995);
  options.value_norm_eps = option(c, "value_norm_eps", 1e-5);
  return options;
}

bool is_given(const nlohmann::json& object, const char* field) {
  return object.contains(field) && !object.at(field).is_null();
}

/// The inputs of a train_step case as a batch.
data::SequenceBatch batch_of(const golden::Case& c) {
  const nlohmann::json& in = c["inputs"];
  data::NestedLengths tokens;
  for (const auto& sample : c["seqlens"]) tokens.add_sample(golden::int32s(sample));
  data::SequenceBatch batch;
  for (size_t i = 0; i < tokens.size(); ++i) batch.meta.ids.push_back({i});
  batch.set("packed_input_ids", at::tensor(golden::integers(in.at("packed_input_ids")), at::kLong),
            tokens);
  batch.set("prompt_mask", bool_tensor(in.at("prompt_mask")), tokens);
  batch.set("packed_logprobs", float_tensor(in.at("packed_logprobs")), action_lengths(tokens));
  if (is_given(in, "packed_ref_logprobs")) {
    batch.set("packed_ref_logprobs", float_tensor(in.at("packed_ref_logprobs")),
              action_lengths(tokens));
  }
  batch.set("rewards", float_tensor(in.at("rewards")), one_each(tokens));
  batch.set("seq_no_eos_mask", bool_tensor(in.at("seq_no_eos_mask")), one_each(tokens));
  if (is_given(in, "dense_rewards") && flag(c, "use_dense_reward", false)) {
    batch.set("dense_rewards", float_tensor(in.at("dense_rewards")), tokens);
  }
  if (is_given(in, "values") && !flag(c, "disable_value", false)) {
    batch.set("values", float_tensor(in.at("values")), tokens);
  }
  return batch;
}

/// The sequences in groups of `group_size` consecutive ones, whatever samples they come in.
data::NestedLengths in_groups(const std::vector<int32_t>& lengths, int64_t group_size) {
  if (group_size < 1 || static_cast<int64_t>(lengths.size()) % group_size != 0) {
    golden::throw_problem("groups do not divide the sequences");
  }
  data::NestedLengths groups;
  for (auto begin = lengths.begin(); begin != lengths.end(); begin += group_size) {
    groups.add_sample(std::vector<int32_t>(begin, begin + group_size));
  }
  return groups;
}

/// As the actor normalises them (group_adv_norm is the older form there: over tokens).
at::Tensor normalised(const golden::Case& c, const PolicyBatch& policy,
                      const std::vector<int32_t>& lengths) {
  if (flag(c, "group_adv_norm", false)) {
    const auto group_size = static_cast<int64_t>(option(c, "group_size", 1));
    return normalize_by_group(policy.advantages, policy.mask, in_groups(lengths, group_size));
  }
  return flag(c, "adv_norm", true) ? masked_normalization(policy.advantages, policy.mask)
                                   : policy.advantages;
}

/// What both count in the same way of the answers of a batch.
void expect_statistics(const metrics::Statistics& got, const nlohmann::json& expected) {
  const std::map<std::string, std::string> names = {
      {"seq_len", "seq_len"},         {"correct_seq_len", "correct_seq_len"},
      {"prompt_len", "prompt_len"},   {"incorrect_seq_len", "incorrect_seq_len"},
      {"task_reward", "task_reward"}, {"no_eos_ratios", "no_eos_ratio"},
      {"kl_rewards", "kl_reward"}};
  for (const auto& [theirs, ours] : names) {
    for (const auto& [suffix, own_suffix] :
         {std::pair("/avg", ""), std::pair("/min", "_min"), std::pair("/max", "_max")}) {
      const auto wanted = expected.find("ppo_actor/" + theirs + suffix);
      const std::optional<double> value = got.value(ours + own_suffix);
      if (wanted == expected.end() || !value) continue;
      golden::expect_close(*value, *wanted, ours + own_suffix, golden::Tolerance{}.times(3));
    }
  }
}

/// The cut into minibatches; which sequence goes where is our own order (Philox).
void expect_minibatches(const golden::Case& c, const EstimationOptions& options,
                        const data::SequenceBatch& batch) {
  const nlohmann::json& expected = c.expect().at("minibatches");
  const auto parts = minibatches_of(by_sequence(batch.select(kIds)), {}, options.n_minibatches,
                                    options.ppo_epochs);
  ASSERT_EQ(expected.size(), parts.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(expected.at(i).at("sequences").size(), parts[i].size());
  }
}

void expect_estimate(const golden::Case& c, const Estimate& got, const ReturnEstimator& after,
                     const std::vector<int32_t>& lengths) {
  const golden::Fields& expected = c.expect();
  const PolicyBatch& policy = got.policy;
  expect_near(policy.mask, expected.at("loss_mask"), "loss_mask");
  expect_near(policy.log_probs, expected.at("old_logp"), "old_logp");
  if (policy.ref_log_probs.defined() && expected.has("ref_logp")) {
    expect_near(policy.ref_log_probs, expected.at("ref_logp"), "ref_logp");
  }
  expect_near(policy.kl_rewards, expected.at("kl_rewards"), "kl_rewards");
  expect_near(policy.rewards, expected.at("rewards"), "rewards");
  if (expected.has("gae_values")) expect_near(policy.values, expected.at("gae_values"), "values");
  expect_near(policy.returns, expected.at("returns"), "returns", 3);
  if (expected.has("returns_for_loss")) {
    expect_near(got.normalized_returns, expected.at("returns_for_loss"), "returns_for_loss", 3);
  }
  if (expected.has("value_norm_after")) {
    const nlohmann::json& norm = expected.at("value_norm_after");
    golden::expect_close(after.value_norm().mean(), norm.at("mean"), "mean after");
    golden::expect_close(after.value_norm().std(), norm.at("std"), "std after");
  }
  if (expected.has("kl_coef_after")) {
    golden::expect_close(after.kl_controller().value(), expected.at("kl_coef_after"), "kl_coef");
  }
  if (expected.has("stats_of_first_minibatch")) {
    expect_statistics(got.statistics, expected.at("stats_of_first_minibatch"));
  }
  if (c["interface"] != "actor") return;
  expect_near(policy.advantages, expected.at("advantages_before_norm"), "advantages", 3);
  expect_near(normalised(c, policy, lengths), expected.at("advantages"), "normalised advantages",
              10);
}

TEST(AdvantagesGolden, TrainStepsArePreparedAsTheReferenceDoes) {
  golden::for_each_case(
      "ppo_prepare.json", "train_step",
      [](const golden::Case& c) {
        const EstimationOptions options = options_of(c);
        const data::SequenceBatch batch = batch_of(c);
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

        expect_estimate(c, got, estimator, batch.meta.at("packed_input_ids").lengths.flat());
        expect_minibatches(c, options, batch);
      },
      {.quirks = kChoices, .leave_out_if = [](const golden::Case& c) -> std::string {
         return c.has("runs") ? "two train steps of one interface" : "";
       }});
}

TEST(AdvantagesGolden, PaddedRewardsAreNotUsed) {
  golden::leave_out_section("ppo_prepare.json", "padded_rewards",
                            "batches are packed: there is no padding");
}

}  // namespace
}  // namespace orrery::algorithm
