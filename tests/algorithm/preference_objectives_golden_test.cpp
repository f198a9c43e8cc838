// Losses of preferences against the vectors of objectives, and what the vectors do not say.
#include "algorithm/objectives_for_test.h"
#include "orrery/algorithm/kto_loss.h"
#include "orrery/algorithm/pair_losses.h"
#include "orrery/algorithm/preference_losses.h"
#include "orrery/base/error.h"

namespace orrery::algorithm {
namespace {

const Objectives& vectors() {
  static const Objectives all("preference_losses_more.json");
  return all;
}

/// The value of a statistic; where it has none, what the vectors' null means.
void expect_statistic(const metrics::Statistics& statistics, const char* name,
                      const nlohmann::json& expected) {
  const std::optional<double> got = statistics.value(name);
  if (expected.is_null()) {
    EXPECT_FALSE(got.has_value()) << name;
    return;
  }
  // A mean over nothing is 0.
  vectors().expect_number(got.value_or(0.0), golden::to_double(expected), name);
}

PairLossOptions pair_options(const golden::Case& c) {
  const nlohmann::json& given = c["options"];
  PairLossOptions options;
  options.objective = pair_objective_named(given.at("loss").get<std::string>());
  options.beta = golden::to_double(given.at("beta"));
  options.label_smoothing = number_or_zero(given.at("label_smoothing"));
  if (const nlohmann::json& name = given.at("length_normalization"); !name.is_null()) {
    options.length_normalization = length_normalization_named(name.get<std::string>());
  }
  options.gamma = number_or_zero(given.at("gamma"));
  options.nll_coef = number_or_zero(given.at("nll_coef"));
  if (const nlohmann::json& name = given.at("nll_reduction"); !name.is_null() && name != "none") {
    options.nll_reduction = nll_reduction_named(name.get<std::string>());
  } else if (options.nll_coef != 0) {
    throw ConfigError("nll_coef without nll_reduction");
  }
  return options;
}

PairLosses losses_of(const golden::Case& c, const at::Tensor& log_probs) {
  const PairInput input{.log_probs = log_probs,
                        .ref_log_probs = optional_tensor(c["ref_logps"]),
                        .lengths = golden::int32s(c["lengths"])};
  return pair_losses(input, pair_options(c), PairCounts::of(input));
}

TEST(PreferenceObjectivesGolden, PairsCostWhatTheVectorsSay) {
  const golden::Count count =
      golden::for_each_case(vectors().path(), "pairs", [](const golden::Case& c) {
        const at::Tensor log_probs = double_tensor(c["pi_logps"]).requires_grad_(true);
        const PairLosses got = losses_of(c, log_probs);
        const double n_pairs = std::max(static_cast<double>(log_probs.numel()) / 2, 1.0);
        const at::Tensor loss = got.result.loss_sum / n_pairs;
        loss.backward();

        const golden::Fields& expected = c.expect();
        expect_only(c, {"loss", "loss_per_pair", "grad_pi_logps", "chosen_rewards",
                        "rejected_rewards", "accuracy", "margin", "chosen_nll", "log_odds_ratio"});
        vectors().expect_number(loss.item<double>(), golden::to_double(expected.at("loss")),
                                "loss");
        vectors().expect_tensor(got.per_pair, expected.at("loss_per_pair"), "loss_per_pair");
        vectors().expect_tensor(log_probs.grad(), expected.at("grad_pi_logps"), "gradient");
        vectors().expect_tensor(got.chosen_rewards, expected.at("chosen_rewards"), "chosen");
        vectors().expect_tensor(got.rejected_rewards, expected.at("rejected_rewards"), "rejected");
        const metrics::Statistics& statistics = got.result.statistics;
        expect_statistic(statistics, "accuracy", expected.at("accuracy"));
        expect_statistic(statistics, "reward_margin", expected.at("margin"));
        if (expected.contains("chosen_nll")) {
          expect_statistic(statistics, "chosen_nll", expected.at("chosen_nll"));
        }
        if (expected.contains("log_odds_ratio")) {
          expect_statistic(statistics, "log_odds_ratio", expected.at("log_odds_ratio"));
        }
      });
  EXPECT_EQ(count.left_out, 0);
}

KtoLosses kto_losses_of(const golden::Case& c, const at::Tensor& log_probs) {
  const nlohmann::json& given = c["options"];
  const KlSample sample = kl_sample(optional_tensor(c["kl_pi_logps"]),
                                    optional_tensor(c["kl_ref_logps"]), NonfiniteInput::kRefuse);
  const std::vector<int32_t> labels = golden::int32s(c["desirable"]);
  for (const int32_t label : labels) {
    if (label != 0 && label != 1) throw CallError("a label is neither good nor bad");
  }
  return kto_loss({.log_probs = log_probs,
                   .ref_log_probs = optional_tensor(c["ref_logps"]),
                   .is_desirable = at::tensor(labels, at::kInt).to(at::kBool),
                   .reference_point = sample.reference_point()},
                  {.beta = golden::to_double(given.at("beta")),
                   .desirable_weight = golden::to_double(given.at("desirable_weight")),
                   .undesirable_weight = golden::to_double(given.at("undesirable_weight"))});
}

TEST(PreferenceObjectivesGolden, SingleAnswersCostWhatTheVectorsSay) {
  const golden::Count count =
      golden::for_each_case(vectors().path(), "kto", [](const golden::Case& c) {
        const at::Tensor log_probs = double_tensor(c["pi_logps"]).requires_grad_(true);
        const KtoLosses got = kto_losses_of(c, log_probs);
        const at::Tensor loss =
            got.result.loss_sum / std::max(static_cast<double>(log_probs.numel()), 1.0);
        loss.backward();

        const golden::Fields& expected = c.expect();
        expect_only(c, {"loss", "loss_per_sequence", "grad_pi_logps", "kl_reference_point",
                        "desirable_reward", "undesirable_reward"});
        vectors().expect_number(loss.item<double>(), golden::to_double(expected.at("loss")),
                                "loss");
        vectors().expect_tensor(got.per_sequence, expected.at("loss_per_sequence"), "per sequence");
        vectors().expect_tensor(log_probs.grad(), expected.at("grad_pi_logps"), "gradient");
        const metrics::Statistics& statistics = got.result.statistics;
        expect_statistic(statistics, "kl_reference_point", expected.at("kl_reference_point"));
        expect_statistic(statistics, "desirable_reward", expected.at("desirable_reward"));
        expect_statistic(statistics, "undesirable_reward", expected.at("undesirable_reward"));
      });
  EXPECT_EQ(count.left_out, 0);
}

PairwiseLoss pairwise_loss_of(const golden::Case& c, const at::Tensor& scores) {
  return pairwise_loss({.scores = scores,
                        .pairs = std::vector<int32_t>(static_cast<size_t>(scores.numel()) / 2, 1),
                        .margins = optional_tensor(c["margins"])},
                       {.centering_coef = golden::to_double(c["options"].at("centering_coef"))});
}

TEST(PreferenceObjectivesGolden, ScoresCostWhatTheVectorsSay) {
  const golden::Count count =
      golden::for_each_case(vectors().path(), "reward_model", [](const golden::Case& c) {
        const at::Tensor scores = double_tensor(c["scores"]).requires_grad_(true);
        const PairwiseLoss got = pairwise_loss_of(c, scores);
        const at::Tensor loss =
            got.result.loss_sum / std::max(static_cast<double>(scores.numel()) / 2, 1.0);
        loss.backward();

        const golden::Fields& expected = c.expect();
        expect_only(c,
                    {"loss", "loss_per_pair", "grad_scores", "accuracy", "margin", "mean_score"});
        vectors().expect_number(loss.item<double>(), golden::to_double(expected.at("loss")),
                                "loss");
        vectors().expect_tensor(got.per_pair, expected.at("loss_per_pair"), "loss_per_pair");
        vectors().expect_tensor(scores.grad(), expected.at("grad_scores"), "gradient");
        const metrics::Statistics& statistics = got.result.statistics;
        expect_statistic(statistics, "accuracy", expected.at("accuracy"));
        expect_statistic(statistics, "score_margin", expected.at("margin"));
        expect_statistic(statistics, "score", expected.at("mean_score"));
      });
  EXPECT_EQ(count.left_out, 0);
}

PairInput four_pairs() {
  return {.log_probs = at::tensor({-3.0, -4.0, -2.5, -2.0, -7.0, -1.0, -3.0, -8.0}, at::kDouble),
          .ref_log_probs = at::full({8}, -3.5, at::kDouble),
          .lengths = {3, 4, 1, 2, 6, 2, 3, 5}};
}

PairInput part_of(const PairInput& whole, int64_t begin, int64_t count) {
  return {.log_probs = whole.log_probs.narrow(0, begin, count),
          .ref_log_probs = whole.ref_log_probs.narrow(0, begin, count),
          .lengths = {whole.lengths.begin() + begin, whole.lengths.begin() + begin + count}};
}

TEST(PairLosses, OfPartsAddUpToThatOfTheWholeMinibatch) {
  const PairInput whole = four_pairs();
  const PairCounts counts = PairCounts::of(whole);
  for (const NllReduction reduction : {NllReduction::kTokenMean, NllReduction::kSequenceMean}) {
    const PairLossOptions options{.nll_coef = 0.7, .nll_reduction = reduction};

    const PairLosses together = pair_losses(whole, options, counts);
    const PairLosses first = pair_losses(part_of(whole, 0, 2), options, counts);
    const PairLosses rest = pair_losses(part_of(whole, 2, 6), options, counts);

    const double sum = (first.result.loss_sum + rest.result.loss_sum).item<double>();
    EXPECT_NEAR(sum, together.result.loss_sum.item<double>(), 1e-12);
    metrics::Statistics merged = first.result.statistics;
    merged.merge(rest.result.statistics);
    EXPECT_NEAR(*merged.value("chosen_nll"), *together.result.statistics.value("chosen_nll"),
                1e-12);
  }
}

TEST(PairLosses, RefuseOptionsThatMeanNothingToTheObjective) {
  const PairInput input = four_pairs();
  const auto refuses = [&](PairLossOptions options) {
    EXPECT_THROW(pair_losses(input, options, PairCounts::of(input)), ConfigError);
  };
  refuses({.beta = 0});
  refuses({.label_smoothing = -0.1});
  refuses({.gamma = 0.5});
  refuses({.nll_coef = -1});
  refuses({.objective = PairObjective::kIpo, .label_smoothing = 0.1});
  refuses({.objective = PairObjective::kSimpo});
  refuses({.objective = PairObjective::kOrpo});
}

TEST(PairLosses, PassOnWhatIsNotFiniteWhereTheEngineIsToDecide) {
  PairInput input = four_pairs();
  input.log_probs[0] = std::nan("");
  EXPECT_THROW(pair_losses(input, {}, PairCounts::of(input)), CallError);
  const PairLosses got =
      pair_losses(input, {.nonfinite = NonfiniteInput::kPassOn}, PairCounts::of(input));
  EXPECT_TRUE(std::isnan(got.result.loss_sum.item<double>()));
}

TEST(KlSample, IsNothingWithoutMismatchedPairs) {
  EXPECT_EQ(kl_sample({}, {}, NonfiniteInput::kRefuse).reference_point(), 0);
  EXPECT_THROW(kl_sample(at::zeros({2}), {}, NonfiniteInput::kRefuse), ShapeError);
}

}  // namespace
}  // namespace orrery::algorithm
