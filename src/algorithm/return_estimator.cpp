#include "orrery/algorithm/return_estimator.h"

#include <ATen/ATen.h>

#include <cstdio>

#include "orrery/algorithm/answer_selection.h"
#include "orrery/algorithm/masked_statistics.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

/// How many answers each prompt has.
std::vector<int32_t> group_sizes(const data::NestedLengths& tokens) {
  std::vector<int32_t> sizes;
  for (size_t i = 0; i < tokens.size(); ++i) {
    sizes.push_back(static_cast<int32_t>(tokens.of(i).size()));
  }
  return sizes;
}

/// [N] tokens of each answer above `free`.
at::Tensor tokens_above(const at::Tensor& prompt_mask, const std::vector<int32_t>& lengths,
                        int64_t free) {
  std::vector<float> above;
  int64_t begin = 0;
  for (const int32_t n : lengths) {
    const int64_t answer = n - prompt_mask.narrow(0, begin, n).sum().item<int64_t>();
    above.push_back(static_cast<float>(std::max<int64_t>(answer - free, 0)));
    begin += n;
  }
  return at::tensor(above, at::kFloat);
}

KlController controller_of(const EstimationOptions& options) {
  if (!options.adaptive_kl) return KlController::fixed(options.kl_ctl);
  return KlController::adaptive(options.kl_ctl, {.target = options.adaptive_kl_target,
                                                 .horizon = options.adaptive_kl_horizon});
}

}  // namespace

ReturnEstimator::ReturnEstimator(const EstimationOptions& options)
    : options_(options),
      kl_(controller_of(options)),
      value_norm_({.kind = value_norm_kind_named(options.value_norm_type),
                   .beta = options.value_norm_beta,
                   .epsilon = options.value_norm_eps}) {}

void ReturnEstimator::restore(double kl_ctl, const ValueNormState& value_norm) {
  kl_.restore(kl_ctl);
  value_norm_.restore(value_norm);
}

std::string ReturnEstimator::state() const {
  const ValueNormState& norm = value_norm_.state();
  char text[200];  // hexadecimal: every bit comes back
  std::snprintf(text, sizeof(text), "kl_ctl %a value_norm %a %a %a %a", kl_.value(), norm.raw_mean,
                norm.raw_mean_square, norm.debias, norm.count);
  return text;
}

void ReturnEstimator::restore(const std::string& state) {
  double kl_ctl = 0;
  ValueNormState norm;
  if (std::sscanf(state.c_str(), "kl_ctl %la value_norm %la %la %la %la", &kl_ctl, &norm.raw_mean,
                  &norm.raw_mean_square, &norm.debias, &norm.count) != 5) {
    throw CheckpointError(base::concat("this is no state of a policy or critic: \"", state, "\""));
  }
  restore(kl_ctl, norm);
}

at::Tensor ReturnEstimator::scores_of(const data::SequenceBatch& input) const {
  const data::NestedLengths& tokens = input.meta.at("packed_input_ids").lengths;
  at::Tensor scores = (input.at("rewards") - options_.reward_bias) * options_.reward_scaling;
  if (options_.length_penalty > 0) {
    scores = scores - options_.length_penalty * tokens_above(input.at("prompt_mask"), tokens.flat(),
                                                             options_.length_free);
  }
  if (options_.leave_one_out) {
    scores = leave_one_out(scores.clamp(-options_.max_reward_clip, options_.max_reward_clip),
                           group_sizes(tokens));
  }
  return scores;
}

void ReturnEstimator::measure_divergence(const PolicyBatch& policy, int64_t n_sequences,
                                         comm::Communicator& data_group,
                                         metrics::Statistics& statistics) {
  if (!policy.ref_log_probs.defined()) return;
  const at::Tensor divergence = policy.log_probs - policy.ref_log_probs;
  record_spread(statistics, "ref_divergence", divergence, policy.mask);
  statistics.scalar("kl_ctl", kl_.value());
  at::Tensor sums = at::tensor({masked_sum(divergence, policy.mask),
                                policy.mask.sum().item<double>(), static_cast<double>(n_sequences)},
                               at::kDouble);
  if (data_group.size() > 1) data_group.all_reduce(sums, comm::ReduceOp::kSum);
  const double* all = sums.const_data_ptr<double>();
  if (all[1] > 0) kl_.update(all[0] / all[1], static_cast<int64_t>(all[2]));
}

Estimate ReturnEstimator::estimate(const data::SequenceBatch& input,
                                   comm::Communicator& data_group) {
  const data::NestedLengths& tokens = input.meta.at("packed_input_ids").lengths;
  PolicyInput policy_input{.lengths = tokens.flat(),
                           .prompt_mask = input.at("prompt_mask"),
                           .log_probs = input.at("packed_logprobs"),
                           .ref_log_probs = {},
                           .values = {},
                           .scores = scores_of(input),
                           .dense_scores = {},
                           .selected = {},
                           .no_eos = input.at("seq_no_eos_mask")};
  if (options_.kl_ctl > 0) policy_input.ref_log_probs = input.at("packed_ref_logprobs");
  if (input.has_data("values")) {
    policy_input.values = input.at("values");
    if (options_.value_norm) policy_input.values = value_norm_.denormalize(policy_input.values);
  }
  if (input.has_data("dense_rewards")) policy_input.dense_scores = input.at("dense_rewards");
  if (options_.skip_uniform_groups || options_.best_of > 0) {
    policy_input.selected = selected_answers(
        input.at("rewards"), group_sizes(tokens),
        {.skip_uniform_groups = options_.skip_uniform_groups, .best_of = options_.best_of});
  }

  // A difference of two clipped scores is clipped already.
  const double clip = options_.max_reward_clip * (options_.leave_one_out ? 2 : 1);
  Estimate result;
  result.policy = prepare_policy_batch(
      policy_input, {.rewards = {.kl_ctl = options_.kl_ctl > 0 ? kl_.value() : 0,
                                 .clip = clip,
                                 .mask_no_eos_with_zero = options_.mask_no_eos_with_zero,
                                 .reward_delta = options_.reward_delta},
                     .mask_too_long = options_.mask_too_long,
                     .discount = options_.discount,
                     .gae_lambda = options_.gae_lambda});
  result.statistics = policy_statistics(policy_input, result.policy);
  measure_divergence(result.policy, static_cast<int64_t>(policy_input.lengths.size()), data_group,
                     result.statistics);
  result.normalized_returns = result.policy.returns;
  if (options_.value_norm) {
    value_norm_.update(result.policy.returns, result.policy.mask, &data_group);
    result.normalized_returns = value_norm_.normalize(result.policy.returns);
    result.statistics.scalar("value_norm_mean", value_norm_.mean());
    result.statistics.scalar("value_norm_std", value_norm_.std());
  }
  return result;
}

}  // namespace orrery::algorithm
