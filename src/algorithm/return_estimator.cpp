#include "orrery/algorithm/return_estimator.h"

#include <ATen/ATen.h>

#include <cstdio>

#include "orrery/algorithm/answer_selection.h"
#include "orrery/algorithm/group_advantages.h"
#include "orrery/algorithm/masked_statistics.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

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

/// [N] per sequence -> [T] per token.
at::Tensor per_token(const at::Tensor& per_sequence, const std::vector<int32_t>& lengths) {
  return at::repeat_interleave(per_sequence, at::tensor(lengths, at::kLong));
}

/// [N] bool: answers whose rewards are numbers.
at::Tensor kept_answers(const data::SequenceBatch& input) {
  at::Tensor kept = at::isnan(input.at("rewards")).logical_not();
  if (!input.has_data("dense_rewards")) return kept;
  const at::Tensor dense = at::isnan(input.at("dense_rewards"));
  int64_t begin = 0, place = 0;
  for (const int32_t n : input.meta.at("packed_input_ids").lengths.flat()) {
    if (dense.narrow(0, begin, n).any().item<bool>()) kept[place].fill_(false);
    begin += n;
    ++place;
  }
  return kept;
}

void check_finite(const at::Tensor& scores, const data::SequenceBatch& input) {
  if (at::isfinite(scores).all().item<bool>()) return;
  throw CallError(
      base::concat("a reward of ", input.size(), " samples, the first of them ",
                   input.meta.ids.front().value),
      {.expected = "numbers that are finite in single precision after reward_bias, reward_scaling "
                   "and length_penalty, or NaN for an answer that is left out",
       .got = base::concat(scores.min().item<double>(), " to ", scores.max().item<double>()),
       .advice = "look at what gives the rewards, or lower reward_scaling"});
}

KlController controller_of(const EstimationOptions& options) {
  if (!options.adaptive_kl) return KlController::fixed(options.kl_coef);
  return KlController::adaptive(options.kl_coef, {.target = options.adaptive_kl_target,
                                                  .horizon = options.adaptive_kl_horizon});
}

}  // namespace

ReturnEstimator::ReturnEstimator(const EstimationOptions& options)
    : options_(options),
      kl_(controller_of(options)),
      value_norm_({.kind = value_norm_kind_named(options.value_norm_type),
                   .beta = options.value_norm_beta,
                   .epsilon = options.value_norm_eps}) {}

void ReturnEstimator::restore(double kl_coef, const ValueNormState& value_norm) {
  kl_.restore(kl_coef);
  value_norm_.restore(value_norm);
}

std::string ReturnEstimator::state() const {
  const ValueNormState& norm = value_norm_.state();
  char text[200];  // hexadecimal: every bit comes back
  std::snprintf(text, sizeof(text), "kl_coef %a value_norm %a %a %a %a", kl_.value(), norm.raw_mean,
                norm.raw_mean_square, norm.debias, norm.count);
  return text;
}

void ReturnEstimator::restore(const std::string& state) {
  double kl_coef = 0;
  ValueNormState norm;
  if (std::sscanf(state.c_str(), "%*s %la value_norm %la %la %la %la", &kl_coef, &norm.raw_mean,
                  &norm.raw_mean_square, &norm.debias, &norm.count) != 5) {
    throw CheckpointError(base::concat("this is no state of a policy or critic: \"", state, "\""));
  }
  restore(kl_coef, norm);
}

/// [N] scores of the answers; 0 where they are left out.
at::Tensor ReturnEstimator::scores_of(const data::SequenceBatch& input, const at::Tensor& kept,
                                      metrics::Statistics& statistics) const {
  const data::NestedLengths& tokens = input.meta.at("packed_input_ids").lengths;
  at::Tensor scores = at::where(kept, input.at("rewards").to(at::kFloat), 0.0);
  scores = at::where(kept, (scores - options_.reward_bias) * options_.reward_scaling, 0.0);
  if (options_.length_penalty > 0) {
    scores = scores - options_.length_penalty * tokens_above(input.at("prompt_mask"), tokens.flat(),
                                                             options_.length_free);
  }
  scores = at::where(kept, scores, 0.0);
  check_finite(scores, input);
  if (options_.max_reward_clip > 0) {
    const at::Tensor above = scores.abs().gt(options_.max_reward_clip);
    statistics.sum("clipped_rewards", above.sum().item<double>());
  }
  if (options_.leave_one_out) {
    scores = bounded(scores, options_.max_reward_clip);
    if (options_.mask_no_eos_with_zero) {
      scores = at::where(input.at("seq_no_eos_mask").to(at::kBool), 0.0, scores);
    }
    scores = group_advantages(scores, group_sizes_of(tokens), kept,
                              {.estimator = GroupEstimator::kLeaveOneOut,
                               .single_answer = single_answer_named(options_.single_answer)})
                 .to(at::kFloat);
  }
  return scores;
}

void ReturnEstimator::measure_divergence(const PolicyBatch& policy, int64_t n_sequences,
                                         comm::Communicator& data_group,
                                         metrics::Statistics& statistics) {
  if (!policy.ref_log_probs.defined()) return;
  const at::Tensor divergence = policy.log_probs - policy.ref_log_probs;
  record_spread(statistics, "ref_divergence", divergence, policy.mask);
  statistics.scalar("kl_coef", kl_.value());
  const at::Tensor steered = bounded(divergence, options_.log_ratio_limit);
  statistics.sum("bounded_kl_rewards", steered.ne(divergence).sum().item<double>());
  at::Tensor sums = at::tensor({masked_sum(steered, policy.mask), policy.mask.sum().item<double>(),
                                static_cast<double>(n_sequences)},
                               at::kDouble);
  if (data_group.size() > 1) data_group.all_reduce(sums, comm::ReduceOp::kSum);
  const double* all = sums.const_data_ptr<double>();
  if (all[1] > 0) kl_.update(all[0] / all[1], static_cast<int64_t>(all[2]));
}

Estimate ReturnEstimator::estimate(const data::SequenceBatch& input,
                                   comm::Communicator& data_group) {
  const data::NestedLengths& tokens = input.meta.at("packed_input_ids").lengths;
  Estimate result;
  result.kept = kept_answers(input);
  PolicyInput policy_input{.lengths = tokens.flat(),
                           .prompt_mask = input.at("prompt_mask"),
                           .log_probs = input.at("packed_logprobs"),
                           .ref_log_probs = {},
                           .values = {},
                           .scores = scores_of(input, result.kept, result.statistics),
                           .dense_scores = {},
                           .kept = result.kept,
                           .selected = {},
                           .no_eos = input.at("seq_no_eos_mask")};
  if (options_.kl_coef > 0) policy_input.ref_log_probs = input.at("packed_ref_logprobs");
  if (input.has_data("values")) {
    policy_input.values = input.at("values");
    if (options_.value_norm) policy_input.values = value_norm_.denormalize(policy_input.values);
  }
  if (input.has_data("dense_rewards")) {
    policy_input.dense_scores =
        at::where(per_token(result.kept, policy_input.lengths), input.at("dense_rewards"), 0.0);
    check_finite(policy_input.dense_scores, input);
  }
  if (options_.skip_uniform_groups || options_.best_of > 0) {
    policy_input.selected = selected_answers(
        input.at("rewards"), group_sizes_of(tokens), result.kept,
        {.skip_uniform_groups = options_.skip_uniform_groups, .best_of = options_.best_of});
  }

  // Leave-one-out comes after the clip and after what answers without an end get.
  const bool is_baseline_off = options_.leave_one_out;
  result.policy = prepare_policy_batch(
      policy_input,
      {.rewards = {.kl_coef = options_.kl_coef > 0 ? kl_.value() : 0,
                   .clip = is_baseline_off ? 0 : options_.max_reward_clip,
                   .log_ratio_limit = options_.log_ratio_limit,
                   .mask_no_eos_with_zero = options_.mask_no_eos_with_zero && !is_baseline_off,
                   .reward_delta = options_.reward_delta},
       .mask_too_long = options_.mask_too_long,
       .discount = options_.discount,
       .gae_lambda = options_.gae_lambda});
  result.kl_weight = options_.kl_coef > 0 ? kl_.value() : 0;
  result.statistics.merge(policy_statistics(policy_input, result.policy));
  measure_divergence(result.policy, result.kept.sum().item<int64_t>(), data_group,
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
