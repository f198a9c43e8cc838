// The policy loss against the vectors of objectives: values, gradients, statistics.
#include "algorithm/objectives_for_test.h"
#include "algorithm/tensors_for_test.h"
#include "orrery/algorithm/high_entropy.h"
#include "orrery/algorithm/masked_statistics.h"
#include "orrery/algorithm/policy_objective.h"
#include "orrery/base/error.h"

namespace orrery::algorithm {
namespace {

std::string vectors() { return (golden::objectives_directory() / "policy_loss.json").string(); }

ObjectiveOptions options_of(const nlohmann::json& given) {
  ObjectiveOptions options;
  options.surrogate = {.kind = surrogate_named(word(given, "surrogate")),
                       .ratio_level = ratio_level_named(word(given, "ratio_level")),
                       .eps_low = optional_number(given, "eps_low"),
                       .eps_high = optional_number(given, "eps_high"),
                       .dual_clip = optional_number(given, "dual_clip"),
                       .tau_positive = optional_number(given, "tau_positive"),
                       .tau_negative = optional_number(given, "tau_negative"),
                       .log_clip_low = optional_number(given, "log_clip_low"),
                       .log_clip_high = optional_number(given, "log_clip_high"),
                       .divergence_threshold = optional_number(given, "divergence_threshold")};
  options.aggregation = {.kind = aggregation_named(word(given, "aggregation")),
                         .constant_length = optional_integer(given, "constant_length").value_or(0),
                         .count_empty_sequences = given.at("count_empty_sequences").get<bool>()};
  options.kl.coefficient = given.at("kl_coef").get<double>();
  if (options.kl.coefficient != 0) {
    options.kl.estimator = kl_estimator_named(word(given, "kl_estimator"));
    options.kl.gradient = kl_gradient_named(word(given, "kl_gradient"));
  }
  options.entropy = {.coefficient = given.at("entropy_coef").get<double>(),
                     .top_fraction = optional_number(given, "top_entropy_fraction")};
  if (options.entropy.coefficient != 0) {
    options.entropy.aggregation = entropy_aggregation_named(word(given, "entropy_aggregation"));
  }
  options.proximal = {.kind = proximal_named(word(given, "proximal")),
                      .weight_cap = optional_number(given, "behaviour_weight_cap"),
                      .current_version = optional_integer(given, "current_version")};
  if (options.proximal.kind == Proximal::kInterpolated) {
    options.proximal.fresh_token = fresh_token_named(word(given, "fresh_token_proximal"));
  }
  options.off_policy_mask_threshold = optional_number(given, "off_policy_mask_threshold");
  return options;
}

ObjectiveInput input_of(const golden::Case& c, const ObjectiveOptions& options) {
  ObjectiveInput input{.lengths = golden::int32s(c["lengths"]),
                       .log_probs = double_tensor(c["log_probs"]).requires_grad_(true),
                       .old_log_probs = optional_doubles(c, "old_log_probs"),
                       .proximal_log_probs = optional_doubles(c, "proximal_log_probs"),
                       .ref_log_probs = optional_doubles(c, "ref_log_probs"),
                       .advantages = optional_doubles(c, "advantages"),
                       .entropies = optional_doubles(c, "entropies"),
                       .high_entropy = {},
                       .rollout_weights = optional_doubles(c, "rollout_weights"),
                       .versions = optional_integers(c, "versions"),
                       .mask = bool_tensor(c["mask"])};
  if (input.entropies.defined()) input.entropies.requires_grad_(true);
  if (options.entropy.top_fraction && input.entropies.defined()) {
    input.high_entropy =
        high_entropy_mask(input.entropies, input.mask, *options.entropy.top_fraction);
  }
  return input;
}

struct Computed {
  ObjectiveInput input;
  MinibatchTotals totals;
  PolicyLoss loss;
};

Computed compute(const golden::Case& c) {
  const ObjectiveOptions options = options_of(c["options"]);
  Computed result{.input = input_of(c, options), .totals = {}, .loss = {}};
  const ObjectiveInput& input = result.input;
  if (!options.entropy.top_fraction || input.high_entropy.defined()) {
    result.totals = totals_of(input.lengths, input.mask, input.high_entropy, options);
  }
  result.loss = policy_objective(input, options, result.totals);
  return result;
}

double over(double sum, double weight) { return weight > 0 ? sum / weight : 0; }

at::Tensor gradient_of(const at::Tensor& of) { return of.grad().defined() ? of.grad() : of * 0; }

void expect_statistics(const Computed& got, const golden::Case& c, const Tolerance& tolerance) {
  const golden::Fields& expected = c.expect();
  const at::Tensor& mask = got.input.mask;
  const double n = mask.sum().item<double>();
  const auto mean = [&](const char* name, const at::Tensor& values) {
    tolerance.expect(over(masked_sum(values, mask), n), expected.at(name), name);
  };
  mean("mean_ratio", got.loss.ratio);
  mean("approx_kl_k1", -got.loss.log_ratio);
  mean("approx_kl_k3", got.loss.log_ratio.expm1() - got.loss.log_ratio);
  mean("clip_fraction_low", got.loss.clipped_low);
  mean("clip_fraction_high", got.loss.clipped_high);
  mean("clip_fraction_dual", got.loss.clipped_dual);
}

TEST(PolicyObjectiveGolden, IsThatOfTheVectors) {
  const Tolerance tolerance = Tolerance::of(vectors());
  const golden::Count count = golden::for_each_case(vectors(), "cases", [&](const auto& c) {
    const Computed got = compute(c);
    const golden::Fields& expected = c.expect();
    const at::Tensor& mask = got.input.mask;
    const at::Tensor loss =
        got.totals.weight > 0 ? got.loss.loss_sum / got.totals.weight : got.loss.loss_sum * 0;
    loss.backward();

    tolerance.expect(loss.template item<double>(), expected.at("loss"), "loss");
    tolerance.expect(over(got.loss.policy_sum.template item<double>(), got.totals.weight),
                     expected.at("policy_loss"), "policy_loss");
    tolerance.expect_all(gradient_of(got.input.log_probs), expected.at("grad_log_probs"),
                         "grad_log_probs");
    tolerance.expect_all(at::where(mask, got.loss.loss, 0.0), expected.at("policy_loss_per_action"),
                         "policy_loss_per_action");
    expect_statistics(got, c, tolerance);
    if (expected.contains("ref_kl")) {
      tolerance.expect(over(got.loss.kl_sum.template item<double>(), got.totals.weight),
                       expected.at("ref_kl"), "ref_kl");
    }
    if (expected.contains("entropy")) {
      tolerance.expect(
          over(got.loss.entropy_sum.template item<double>(), got.totals.entropy_weight),
          expected.at("entropy"), "entropy");
      tolerance.expect_all(gradient_of(got.input.entropies), expected.at("grad_entropies"),
                           "grad_entropies");
    }
    if (expected.contains("high_entropy_mask")) {
      tolerance.expect_all(got.input.high_entropy, expected.at("high_entropy_mask"),
                           "high_entropy_mask");
    }
    if (expected.contains("current_weight")) {
      tolerance.expect_all(got.loss.current_weight, expected.at("current_weight"), "current_weight",
                           mask);
      tolerance.expect_all(got.loss.proximal_log_probs, expected.at("proximal_log_probs"),
                           "proximal_log_probs", mask);
    }
  });
  EXPECT_EQ(count.left_out, 0);
}

}  // namespace
}  // namespace orrery::algorithm
