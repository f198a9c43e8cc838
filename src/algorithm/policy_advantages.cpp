#include "orrery/algorithm/policy_advantages.h"

#include <ATen/ATen.h>

#include <vector>

#include "orrery/algorithm/action_advantages.h"
#include "orrery/algorithm/advantages.h"
#include "orrery/algorithm/group_advantages.h"
#include "orrery/algorithm/preference_losses.h"  // sums_by_sequence
#include "orrery/algorithm/reward_functions.h"

namespace orrery::algorithm {

namespace {

/// Variance and epsilon of what is standardised.
GroupOptions deviation_of(const ActorOptions& options) {
  return {.variance = variance_named(options.group_std_kind),
          .eps = options.group_eps,
          .eps_mode = eps_mode_named(options.group_eps_mode)};
}

GroupOptions group_options(const ActorOptions& options) {
  GroupOptions group = deviation_of(options);
  if (options.group_std == "batch") group.scope = StdScope::kBatch;
  if (options.group_std == "none") group.estimator = GroupEstimator::kMeanOnly;
  if (!options.has_estimator() || options.estimator == "gdpo") return group;
  if (options.estimator != "grpo" || options.group_std != "none") {
    group.estimator = group_estimator_named(options.estimator);
  }
  group.single_answer = single_answer_named(options.single_answer);
  group.k = options.pass_k;
  return group;
}

/// [N] the reward of each answer, the sum of those of its actions.
at::Tensor sums_of_answers(const at::Tensor& rewards, const std::vector<int32_t>& lengths) {
  return sums_by_sequence(rewards.to(at::kDouble), at::ones_like(rewards, at::kBool), lengths);
}

/// [N] tokens of each answer.
std::vector<int32_t> answer_lengths(const data::SequenceBatch& input,
                                    const std::vector<int32_t>& lengths) {
  const at::Tensor is_answer = action_mask(input.at("prompt_mask"), lengths);
  const at::Tensor counts = sums_of_answers(is_answer, lengths).to(at::kInt).contiguous();
  const int32_t* first = counts.const_data_ptr<int32_t>();
  return {first, first + counts.numel()};
}

/// [N] bool: without the groups of which fewer than k answers are left.
at::Tensor kept_in_groups_of(int64_t k, const at::Tensor& kept, const std::vector<int32_t>& sizes) {
  at::Tensor result = kept.clone();
  int64_t begin = 0;
  for (const int32_t n : sizes) {
    at::Tensor group = result.narrow(0, begin, n);
    if (group.sum().item<int64_t>() < k) group.fill_(false);
    begin += n;
  }
  return result;
}

/// [A] the advantage of each answer at all its actions; its reward is the sum of those of its
/// actions, KL rewards included.
at::Tensor advantages_of_answers(const ActorOptions& options, const Estimate& estimate,
                                 const data::SequenceBatch& input, comm::Communicator& ranks) {
  const data::NestedLengths& tokens = input.meta.at("packed_input_ids").lengths;
  const std::vector<int32_t> lengths = tokens.flat();
  const std::vector<int32_t> sizes = group_sizes_of(tokens);
  const GroupOptions group = group_options(options);
  const at::Tensor rewards = sums_of_answers(estimate.policy.rewards, lengths);
  at::Tensor kept = estimate.kept;
  if (group.estimator == GroupEstimator::kPassAtK) kept = kept_in_groups_of(group.k, kept, sizes);
  if (options.estimator == "gdpo") {
    const RewardFunctions functions = reward_functions(input, options);
    return per_action(decoupled_group_advantages(functions.rewards, functions.weights, sizes, kept,
                                                 group, &ranks),
                      lengths)
        .to(at::kFloat);
  }
  const std::vector<int32_t> weights_of_answers = group.estimator == GroupEstimator::kLengthWeighted
                                                      ? answer_lengths(input, lengths)
                                                      : std::vector<int32_t>();
  const at::Tensor advantages =
      group_advantages(rewards, sizes, kept, group, &ranks, weights_of_answers);
  return per_action(advantages, lengths).to(at::kFloat);
}

/// [A] whitened returns of REINFORCE++.
at::Tensor advantages_of_actions(const ActorOptions& options, const Estimate& estimate,
                                 const data::SequenceBatch& input, comm::Communicator& ranks) {
  const data::NestedLengths& tokens = input.meta.at("packed_input_ids").lengths;
  const std::vector<int32_t> lengths = tokens.flat();
  std::vector<int32_t> actions = lengths;
  for (int32_t& n : actions) --n;
  const PolicyBatch& policy = estimate.policy;
  const ActionAdvantages computed = action_advantages(
      {.rewards = sums_of_answers(
           policy.rewards.to(at::kDouble) - policy.kl_rewards.to(at::kDouble), lengths),
       .group_sizes = group_sizes_of(tokens),
       .kept = estimate.kept,
       .lengths = actions,
       .mask = policy.mask,
       .log_probs = policy.log_probs,
       .ref_log_probs = policy.ref_log_probs},
      {.takes_group_mean = takes_group_mean(options.estimator),
       .kl_coef = estimate.kl_weight,
       .kl_estimator = kl_estimator_named(options.kl_reward_estimator),
       .log_ratio_limit = options.log_ratio_limit,
       .discount = options.discount,
       .scope = whiten_scope_named(options.whiten_scope),
       .whiten = deviation_of(options)},
      &ranks);
  return computed.advantages.to(at::kFloat);
}

}  // namespace

at::Tensor policy_advantages(const ActorOptions& options, const Estimate& estimate,
                             const data::SequenceBatch& input, comm::Communicator& ranks) {
  if (options.whitens_actions()) return advantages_of_actions(options, estimate, input, ranks);
  const at::Tensor& mask = estimate.policy.mask;
  at::Tensor result = estimate.policy.advantages;
  if (options.has_estimator() || options.group_adv_norm) {
    result = advantages_of_answers(options, estimate, input, ranks);
  } else if (options.group_adv_norm_by_token) {
    result = normalize_by_group(result, mask, input.meta.at("packed_input_ids").lengths);
  }
  if (options.adv_norm) result = masked_normalization(result, mask, &ranks);
  return result;
}

}  // namespace orrery::algorithm
