// Losses of preference pairs against the recorded reference.
#include "algorithm/tensors_for_test.h"
#include "orrery/algorithm/advantages.h"
#include "orrery/algorithm/pair_losses.h"
#include "orrery/algorithm/preference_losses.h"
#include "orrery/base/error.h"

namespace orrery::algorithm {
namespace {

/// All members of all samples, one behind another.
std::vector<int32_t> flat_lengths(const golden::Case& c) {
  std::vector<int32_t> lengths;
  for (const auto& sample : c["seqlens"]) {
    for (const auto& member : sample) lengths.push_back(member.get<int32_t>());
  }
  return lengths;
}

/// What an interface calls, with the options of the reference.
parallel::LossResult dpo_loss(const at::Tensor& log_probs, const at::Tensor& ref_log_probs,
                              double beta) {
  const PairInput input{.log_probs = log_probs,
                        .ref_log_probs = ref_log_probs,
                        .lengths = std::vector<int32_t>(static_cast<size_t>(log_probs.numel()), 1)};
  return pair_losses(input, {.beta = beta, .nonfinite = NonfiniteInput::kPassOn},
                     PairCounts::of(input))
      .result;
}

parallel::LossResult pairwise_loss(const at::Tensor& scores, const std::vector<int32_t>& pairs) {
  return algorithm::pairwise_loss({.scores = scores, .pairs = pairs},
                                  {.nonfinite = NonfiniteInput::kPassOn})
      .result;
}

TEST(DpoGolden, LossAndGradientAreThoseOfTheReference) {
  golden::for_each_case("dpo_rw_sft_loss.json", "dpo", [](const golden::Case& c) {
    const at::Tensor log_probs = float_tensor(c["pi_logps"]).requires_grad_(true);
    const double n_pairs = static_cast<double>(log_probs.numel()) / 2;
    const parallel::LossResult result =
        dpo_loss(log_probs, float_tensor(c["ref_logps"]), c["beta"].get<double>());
    const at::Tensor mean = result.loss_sum / n_pairs;
    mean.backward();

    const golden::Fields& expected = c.expect();
    expect_near(mean, expected.at("loss"), "loss");
    expect_near(log_probs.grad(), expected.at("grad_pi_logps"), "gradient");
    // The reference gives sums, the statistics here are means.
    const auto sum = [&](const char* name, double count) {
      return at::tensor({result.statistics.value(name).value_or(std::nan("")) * count},
                        at::kDouble);
    };
    expect_near(sum("chosen_reward", n_pairs), expected.at("pos_score"), "pos_score", 3);
    expect_near(sum("rejected_reward", n_pairs), expected.at("neg_score"), "neg_score", 3);
    expect_near(sum("ref_kl", 2 * n_pairs), expected.at("kl"), "kl", 3);
  });
}

TEST(DpoGolden, LossFromLogitsHasTheReferencesGradient) {
  golden::for_each_case("dpo_rw_sft_loss.json", "dpo_from_logits", [](const golden::Case& c) {
    const std::vector<int32_t> lengths = flat_lengths(c);
    const at::Tensor logits =
        float_tensor(c["logits"]).view({-1, c["vocab"].get<int64_t>()}).requires_grad_(true);
    std::vector<int32_t> is_prompt;
    for (size_t i = 0; i < c["seqlens"].size(); ++i) {
      for (const auto& member : c["seqlens"].at(i)) {
        for (int32_t t = 0; t < member.get<int32_t>(); ++t) {
          is_prompt.push_back(t < c["prompt_lens"].at(i).get<int32_t>() ? 1 : 0);
        }
      }
    }
    const at::Tensor prompt_mask = at::tensor(is_prompt, at::kInt).to(at::kBool);

    const at::Tensor sums =
        sums_by_sequence(next_tokens(logits, golden::integers(c["input_ids"]), lengths).log_probs,
                         action_mask(prompt_mask, lengths), lengths);
    const at::Tensor mean =
        dpo_loss(sums, float_tensor(c["ref_seqlogp"]), c["beta"].get<double>()).loss_sum /
        (static_cast<double>(lengths.size()) / 2);
    mean.backward();

    const golden::Fields& expected = c.expect();
    expect_near(mean, expected.at("loss"), "loss", 3);
    expect_near(logits.grad(), expected.at("grad_logits"), "gradient", 3);
    if (expected.contains("seqlogp")) expect_near(sums, expected.at("seqlogp"), "seqlogp", 3);
  });
}

TEST(RewardModelGolden, PairwiseLossIsThatOfTheReference) {
  golden::for_each_case("dpo_rw_sft_loss.json", "paired_reward", [](const golden::Case& c) {
    std::vector<int32_t> pairs;
    for (const auto& sample : c["seqlens"]) {
      pairs.push_back(static_cast<int32_t>(sample.size() / 2));
    }
    const at::Tensor scores = float_tensor(c["scores"]).requires_grad_(true);

    const parallel::LossResult result = pairwise_loss(last_of_each(scores, flat_lengths(c)), pairs);
    result.loss_sum.backward();

    const golden::Fields& expected = c.expect();
    expect_near(result.loss_sum, expected.at("loss"), "loss");
    expect_near(scores.grad(), expected.at("grad_scores"), "gradient");
    const nlohmann::json& stats = expected.at("stats");
    const auto value = [&](const char* name) {
      return result.statistics.value(name).value_or(std::nan(""));
    };
    golden::expect_close(value("accuracy") * value("n_pairs"), stats.at("correct_predictions"),
                         "correct_predictions");
    golden::expect_close(value("chosen_score_max"), stats.at("max_pos_score"), "max_pos_score");
    golden::expect_close(value("rejected_score_min"), stats.at("min_neg_score"), "min_neg_score");
  });
}

TEST(RewardModelGolden, TheRewardIsTheLastTokensScore) {
  golden::for_each_case(
      "dpo_rw_sft_loss.json", "paired_reward_inference", [](const golden::Case& c) {
        const at::Tensor rewards = (last_of_each(float_tensor(c["scores"]), flat_lengths(c)) -
                                    c["output_bias"].get<double>()) *
                                   c["output_scaling"].get<double>();
        expect_near(rewards, c.expect().at("rewards"), "rewards");
      });
}

TEST(CheckPairs, NamesASampleWithoutPairs) {
  data::SequenceBatch batch;
  batch.meta.ids = {{3}, {5}};
  batch.set("packed_input_ids", at::arange(6, at::kLong), {{2, 1}, {3}});
  try {
    check_pairs(batch);
    FAIL() << "it was accepted";
  } catch (const CallError& error) {
    EXPECT_NE(std::string(error.what()).find("sample 5"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace orrery::algorithm
