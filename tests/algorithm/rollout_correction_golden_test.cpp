// Importance weights of rollouts, their vetoes and the metrics of the mismatch, against the vectors
// of objectives.
#include "algorithm/objectives_for_test.h"
#include "algorithm/tensors_for_test.h"
#include "orrery/algorithm/mismatch.h"
#include "orrery/algorithm/policy_objective.h"
#include "orrery/algorithm/rollout_correction.h"
#include "orrery/base/error.h"

namespace orrery::algorithm {
namespace {

std::string vectors() {
  return (golden::objectives_directory() / "rollout_correction.json").string();
}

CorrectionOptions options_of(const nlohmann::json& given) {
  CorrectionOptions options{.mode = correction_mode_named(word(given, "mode")),
                            .level = correction_level_named(word(given, "level")),
                            .lower = optional_number(given, "lower"),
                            .upper = optional_number(given, "upper"),
                            .veto_ratio_min = optional_number(given, "veto_ratio_min"),
                            .veto_ratio_max = optional_number(given, "veto_ratio_max"),
                            .max_staleness = optional_integer(given, "max_staleness"),
                            .current_version = optional_integer(given, "current_version")};
  if (options.mode == CorrectionMode::kMask) {
    options.mask_weight = mask_weight_named(word(given, "mask_weight"));
  }
  return options;
}

CorrectionInput input_of(const golden::Case& c) {
  return {.lengths = golden::int32s(c["lengths"]),
          .behaviour_log_probs = double_tensor(c["behaviour_log_probs"]),
          .old_log_probs = double_tensor(c["old_log_probs"]),
          .versions = optional_integers(c, "versions"),
          .mask = bool_tensor(c["mask"])};
}

const std::map<std::string, std::string> kMetrics = {
    {"kl_k1", "mismatch/k1"},
    {"kl_k3", "mismatch/k3"},
    {"chi2_token", "mismatch/chi2_token"},
    {"chi2_sequence", "mismatch/chi2_sequence"},
    {"mean_abs_log_prob_difference", "mismatch/abs_mean"},
    {"max_abs_log_prob_difference", "mismatch/abs_max"},
    {"mean_abs_prob_difference", "mismatch/prob_abs_mean"},
    {"max_abs_prob_difference", "mismatch/prob_abs_max"},
    {"old_perplexity", "mismatch/trained_perplexity"},
    {"behaviour_perplexity", "mismatch/generated_perplexity"},
    {"perplexity_ratio", "mismatch/perplexity_ratio"}};

void expect_mismatch(const CorrectionInput& input, const nlohmann::json& expected,
                     const Tolerance& tolerance) {
  metrics::Statistics statistics;
  record_mismatch(statistics, input.old_log_probs, input.behaviour_log_probs, input.mask,
                  input.lengths);
  for (const auto& [name, value] : expected.items()) {
    // A metric of nothing is not there; the vectors call a mean over nothing 0.
    tolerance.expect(statistics.value(kMetrics.at(name)).value_or(0), value, name);
  }
}

void expect_versions(const CorrectionInput& input, int64_t current, const golden::Fields& expected,
                     const Tolerance& tolerance) {
  const VersionReport report = version_report(input.old_log_probs, input.behaviour_log_probs,
                                              input.versions, current, input.mask, input.lengths);
  tolerance.expect(report.staleness_mean, expected.at("staleness_mean"), "staleness_mean");
  EXPECT_EQ(report.staleness_max, golden::to_int64(expected.at("staleness_max")));
  EXPECT_EQ(report.mixed_sequences, golden::integers(expected.at("mixed_sequences")));
  const nlohmann::json& by_version = expected.at("by_version");
  ASSERT_EQ(report.by_version.size(), by_version.size());
  for (size_t i = 0; i < by_version.size(); ++i) {
    const VersionMismatch& got = report.by_version[i];
    EXPECT_EQ(got.version, golden::to_int64(by_version[i].at("version")));
    tolerance.expect(got.n_actions, by_version[i].at("actions"), "actions");
    tolerance.expect(got.k1, by_version[i].at("kl_k1"), "kl_k1 of a version");
    tolerance.expect(got.k3, by_version[i].at("kl_k3"), "kl_k3 of a version");
    tolerance.expect(got.abs_mean, by_version[i].at("mean_abs_log_prob_difference"),
                     "mean |d| of a version");
  }
}

struct Computed {
  RolloutCorrection correction;
  double loss_sum = 0;  ///< of the given losses, weighted as those of a policy are
};

/// The losses of the actions enter as log-probabilities of REINFORCE with advantages of -1.
Computed compute(const golden::Case& c) {
  const CorrectionInput input = input_of(c);
  Computed result{.correction = rollout_correction(input, options_of(c["options"]))};
  ObjectiveInput weighted{.lengths = input.lengths,
                          .log_probs = double_tensor(c["per_action_loss"]),
                          .old_log_probs = input.old_log_probs,
                          .advantages = -at::ones_like(input.old_log_probs),
                          .rollout_weights = result.correction.weights,
                          .mask = input.mask};
  ObjectiveOptions options;
  options.surrogate.kind = SurrogateKind::kReinforce;
  result.loss_sum = policy_objective(weighted, options, {}).policy_sum.item<double>();
  return result;
}

TEST(RolloutCorrectionGolden, IsThatOfTheVectors) {
  const Tolerance tolerance = Tolerance::of(vectors());
  const golden::Count count = golden::for_each_case(vectors(), "cases", [&](const auto& c) {
    const CorrectionInput input = input_of(c);
    const CorrectionOptions options = options_of(c["options"]);
    const Computed computed = compute(c);
    const RolloutCorrection& got = computed.correction;

    const golden::Fields& expected = c.expect();
    tolerance.expect_all(got.weights, expected.at("weights"), "weights");
    tolerance.expect_all(got.kept, expected.at("keep"), "keep");
    EXPECT_EQ(got.vetoed_sequences, golden::integers(expected.at("vetoed_sequences")));
    const auto share = [&](double part) { return got.n_valid > 0 ? part / got.n_valid : 0; };
    tolerance.expect(share(got.n_above), expected.at("fraction_above"), "fraction_above");
    tolerance.expect(share(got.n_below), expected.at("fraction_below"), "fraction_below");
    tolerance.expect(share(got.n_kept), expected.at("fraction_kept"), "fraction_kept");
    tolerance.expect(share(got.weight_sum), expected.at("mean_weight"), "mean_weight");
    tolerance.expect(got.effective_sample_fraction(), expected.at("effective_sample_fraction"),
                     "effective_sample_fraction");
    const double loss = computed.loss_sum;
    tolerance.expect(share(loss), expected.at("loss_over_valid"), "loss_over_valid");
    tolerance.expect(got.n_kept > 0 ? loss / got.n_kept : 0, expected.at("loss_over_kept"),
                     "loss_over_kept");
    expect_mismatch(input, expected.at("mismatch"), tolerance);
    if (expected.contains("by_version")) {
      expect_versions(input, *options.current_version, expected, tolerance);
    }
  });
  EXPECT_EQ(count.left_out, 0);
}

}  // namespace
}  // namespace orrery::algorithm
