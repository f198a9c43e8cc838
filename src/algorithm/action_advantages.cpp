#include "orrery/algorithm/action_advantages.h"

#include <ATen/ATen.h>

#include <string>

#include "orrery/algorithm/kl_estimate.h"
#include "orrery/algorithm/loss_inputs.h"
#include "orrery/algorithm/sequence_actions.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

void check(const ActionAdvantageInput& input, const ActionAdvantageOptions& options) {
  const auto refuse = [](const char* what, const char* expected, const std::string& got) {
    throw ConfigError(what, {.expected = expected, .got = got, .advice = {}});
  };
  if (!(options.discount >= 0 && options.discount <= 1)) {
    refuse("discount", "0 to 1", base::concat(options.discount));
  }
  if (!(options.kl_coef >= 0)) {
    refuse("weight of the KL reward", "at least 0", base::concat(options.kl_coef));
  }
  if (options.scope == WhitenScope::kSequences && (options.kl_coef != 0 || options.discount != 1)) {
    refuse("whitening over sequences", "neither a KL reward nor a discount", "one of them");
  }
  if (options.kl_coef != 0 && !(input.log_probs.defined() && input.ref_log_probs.defined())) {
    refuse("KL reward", "log-probabilities of policy and reference", "none");
  }
  if (input.lengths.size() != static_cast<size_t>(input.rewards.numel())) {
    throw ShapeError("rewards do not fit the answers",
                     {.expected = base::concat(input.lengths.size(), " rewards"),
                      .got = base::concat(input.rewards.numel()),
                      .advice = {}});
  }
  for (const at::Tensor& each : {input.log_probs, input.ref_log_probs}) {
    if (!each.defined() || each.numel() == input.mask.numel()) continue;
    throw ShapeError("log-probabilities and mask differ in size",
                     {.expected = base::concat(input.mask.numel(), " actions"),
                      .got = base::concat(each.numel()),
                      .advice = {}});
  }
  if (options.kl_coef == 0) return;
  refuse_nonfinite("log_probs of actions", input.log_probs, input.mask);
  refuse_nonfinite("ref_log_probs of actions", input.ref_log_probs, input.mask);
}

/// In place: from rewards of actions to returns; what is masked is passed over.
void accumulate_returns(at::Tensor& rewards, const at::Tensor& mask,
                        const std::vector<int32_t>& lengths, const at::Tensor& answer_rewards,
                        double discount) {
  double* value = rewards.mutable_data_ptr<double>();
  const bool* is_valid = mask.const_data_ptr<bool>();
  const double* of_answer = answer_rewards.const_data_ptr<double>();
  int64_t begin = 0;
  for (size_t s = 0; s < lengths.size(); ++s) {
    bool is_last = true;
    double later = 0;
    for (int64_t t = begin + lengths[s] - 1; t >= begin; --t) {
      if (!is_valid[t]) continue;
      later = value[t] + (is_last ? of_answer[s] : discount * later);
      value[t] = later;
      is_last = false;
    }
    begin += lengths[s];
  }
}

}  // namespace

bool takes_group_mean(std::string_view estimator) {
  if (estimator == "reinforce_plus_plus") return false;
  if (estimator == "reinforce_plus_plus_baseline") return true;
  throw ConfigError("estimator of the advantages of actions",
                    {.expected = "reinforce_plus_plus or reinforce_plus_plus_baseline",
                     .got = std::string(estimator),
                     .advice = {}});
}

WhitenScope whiten_scope_named(std::string_view name) {
  if (name == "actions") return WhitenScope::kActions;
  if (name == "sequences") return WhitenScope::kSequences;
  throw ConfigError("scope of whitening",
                    {.expected = "actions or sequences", .got = std::string(name), .advice = {}});
}

ActionAdvantages action_advantages(const ActionAdvantageInput& input,
                                   const ActionAdvantageOptions& options,
                                   comm::Communicator* ranks) {
  check(input, options);
  const SequenceActions sequences(input.lengths, input.mask);
  const at::Tensor kept =
      input.kept.defined() ? input.kept : at::ones({input.rewards.numel()}, at::kBool);
  // With the group's mean, and checked in either case.
  const at::Tensor centred = group_advantages(input.rewards, input.group_sizes, kept,
                                              {.estimator = GroupEstimator::kMeanOnly});
  const at::Tensor rewards = options.takes_group_mean
                                 ? centred
                                 : at::where(kept, input.rewards.to(at::kDouble), 0.0).contiguous();
  const at::Tensor mask = sequences.spread(kept).logical_and(input.mask).contiguous();

  ActionAdvantages result;
  result.returns = at::zeros({mask.numel()}, at::kDouble);
  if (options.kl_coef != 0) {
    const at::Tensor kl =
        kl_estimate(options.kl_estimator, input.log_probs.to(at::kDouble),
                    input.ref_log_probs.to(at::kDouble), mask, options.log_ratio_limit);
    result.returns = at::where(mask, -options.kl_coef * kl, 0.0).contiguous();
  }
  accumulate_returns(result.returns, mask, input.lengths, rewards, options.discount);
  if (options.scope == WhitenScope::kSequences) {
    const at::Tensor white = standardised(rewards, kept, options.whiten, ranks);
    result.advantages = at::where(mask, sequences.spread(white), 0.0);
  } else {
    result.advantages = standardised(result.returns, mask, options.whiten, ranks);
  }
  return result;
}

}  // namespace orrery::algorithm
