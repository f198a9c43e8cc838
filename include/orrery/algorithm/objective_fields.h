// The options of a policy's loss and advantages, beyond those that PPO and GRPO have always had:
// what a configuration says, what is wrong with it before a run, and what it means. One table of
// methods (methods.h) sets them by a name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "orrery/algorithm/objective_options.h"
#include "orrery/algorithm/option_problem.h"
#include "orrery/algorithm/rollout_correction.h"
#include "orrery/config/field.h"

namespace orrery::algorithm {

struct ActorOptions;

/// `none` and the names of all methods (methods.h).
std::vector<std::string> method_choices();

struct ObjectiveFields {
  std::string method = "none";
  std::string estimator = "by_options";
  int64_t pass_k = 0;
  double reward_weight = 1;
  double reward_weight_2 = 1;
  double reward_weight_3 = 1;
  std::string whiten_scope = "actions";
  std::string kl_reward_estimator = "k1";
  std::string surrogate = "ppo_clip";
  std::string ratio_level = "token";
  double clip_range_high = 0;
  bool cispo_lower = false;
  double sapo_tau_positive = 1;
  double sapo_tau_negative = 1.05;
  double gmpo_clip_low = 0.4;
  double gmpo_clip_high = 0.4;
  double dppo_threshold = 0.15;
  std::string aggregation = "token_mean";
  int64_t constant_length = 0;
  bool count_empty_sequences = false;
  std::string kl_loss_estimator = "k3";
  std::string kl_loss_gradient = "direct";
  double entropy_coef = 0;
  std::string entropy_aggregation = "token_mean";
  double top_entropy_fraction = 0;
  double off_policy_mask = 0;
  bool interpolate_proximal = false;
  std::string fresh_token_proximal = "behaviour";
  std::string rollout_correction = "none";
  std::string rollout_level = "token";
  double rollout_lower = 0;
  double rollout_upper = 0;
  std::string rollout_mask_weight = "ratio";
  std::string rollout_divisor = "valid";
  double veto_ratio_min = 0;
  double veto_ratio_max = 0;
  int64_t max_staleness = -1;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = ObjectiveFields;
    using config::above;
    using config::anything;
    using config::at_least;
    using config::in_range;
    using config::one_of;
    field(&C::method, "method",
          "sets options to those of a method (docs/algorithms.md), which config.cfg of the run "
          "shows; an option that is written holds instead, with a notice",
          one_of(method_choices()));
    field(
        &C::estimator, "estimator",
        "advantages: of the answers of a prompt among each other (grpo, dr_grpo, rloo, gdpo, opo, "
        "maxrl, pass_at_k, leave_one_out_max), of actions without a baseline or with the prompt's "
        "mean (reinforce_plus_plus), or what group_adv_norm, leave_one_out and adv_norm say",
        one_of({"by_options", "grpo", "dr_grpo", "rloo", "gdpo", "opo", "maxrl", "pass_at_k",
                "leave_one_out_max", "reinforce_plus_plus", "reinforce_plus_plus_baseline"}));
    field(&C::pass_k, "pass_k", "k of estimator pass_at_k", at_least(0));
    field(
        &C::reward_weight, "reward_weight",
        "of the input rewards beside those of rewards_2 and rewards_3: an answer's reward is their "
        "weighted sum; gdpo standardises each first",
        anything());
    field(&C::reward_weight_2, "reward_weight_2", "of the input rewards_2", anything());
    field(&C::reward_weight_3, "reward_weight_3", "of the input rewards_3", anything());
    field(&C::whiten_scope, "whiten_scope",
          "reinforce_plus_plus: mean and deviation over all actions, or over answers, each counted "
          "once",
          one_of({"actions", "sequences"}));
    field(&C::kl_reward_estimator, "kl_reward_estimator",
          "reinforce_plus_plus: estimate of the KL reward", one_of({"k1", "k2", "k3"}));
    field(&C::surrogate, "surrogate", "what the advantage multiplies in the loss",
          one_of({"ppo_clip", "cispo", "sapo", "gmpo", "reinforce", "importance_sampling",
                  "dppo_tv", "dppo_kl"}));
    field(
        &C::ratio_level, "ratio_level",
        "ratio of each action, of its sequence (GSPO), or of its sequence with a gradient through "
        "the own action only",
        one_of({"token", "sequence", "sequence_token"}));
    field(&C::clip_range_high, "clip_range_high", "upper range of the ratio, 1 + this; 0: as below",
          at_least(0));
    field(&C::cispo_lower, "cispo_lower", "cispo bounds the ratio from below as well", anything());
    field(&C::sapo_tau_positive, "sapo_tau_positive", "steepness of sapo, positive advantages",
          above(0));
    field(&C::sapo_tau_negative, "sapo_tau_negative", "the same, negative ones", above(0));
    field(&C::gmpo_clip_low, "gmpo_clip_low", "gmpo: log-ratios are clipped to - this ...",
          at_least(0));
    field(&C::gmpo_clip_high, "gmpo_clip_high", "... and + this", at_least(0));
    field(&C::dppo_threshold, "dppo_threshold",
          "dppo: divergence of an action's probability above which it is blocked", at_least(0));
    field(&C::aggregation, "aggregation",
          "mean over the tokens of a minibatch; over its answers of their mean or sum; or sum / "
          "(answers x constant_length)",
          one_of({"token_mean", "seq_mean_token_mean", "seq_mean_token_sum", "constant"}));
    field(&C::constant_length, "constant_length",
          "of aggregation constant, tokens; with a method: the generating call's max_new_tokens",
          at_least(0));
    field(&C::count_empty_sequences, "count_empty_sequences",
          "answers without a token that counts count in means over answers", anything());
    field(&C::kl_loss_estimator, "kl_loss_estimator", "estimate of the KL loss",
          one_of({"k1", "k2", "k3"}));
    field(&C::kl_loss_gradient, "kl_loss_gradient",
          "gradient of the KL loss: of the estimate, of k2, or of the estimate times the ratio",
          one_of({"direct", "straight_through_k2", "importance_weighted"}));
    field(&C::entropy_coef, "entropy_coef", "weight of the entropy bonus; 0: none", at_least(0));
    field(&C::entropy_aggregation, "entropy_aggregation",
          "the bonus is a mean over tokens, or aggregated as the loss",
          one_of({"token_mean", "same_as_loss"}));
    field(&C::top_entropy_fraction, "top_entropy_fraction",
          "only this share of a minibatch's tokens, those of the highest entropy before the train "
          "step, have a policy loss; needs the input entropies; 0: all",
          in_range(0, 1));
    field(&C::off_policy_mask, "off_policy_mask",
          "answers with a negative advantage whose mean log-ratio to the policy that generated is "
          "below - this are not learned from; 0: none",
          at_least(0));
    field(&C::interpolate_proximal, "interpolate_proximal",
          "A-3PO: the ratio is to a policy between that which generated and the current one, by "
          "the age of each token; needs the input versions",
          anything());
    field(&C::fresh_token_proximal, "fresh_token_proximal",
          "that policy for tokens of the current version", one_of({"behaviour", "current"}));
    field(
        &C::rollout_correction, "rollout_correction",
        "importance weights of what generation recorded (sampling_logprobs where bound, else "
        "packed_logprobs) against the training engine's log-probabilities before the step, which "
        "the ratio is to then: truncated to the bounds, or dropped outside them; one more forward "
        "pass",
        one_of({"none", "truncate", "mask"}));
    field(&C::rollout_level, "rollout_level",
          "weight of each token, of its answer, or the geometric mean over its answer",
          one_of({"token", "sequence", "geometric"}));
    field(&C::rollout_lower, "rollout_lower", "lower bound of that weight; 0: none", at_least(0));
    field(&C::rollout_upper, "rollout_upper", "upper bound; 0: none", at_least(0));
    field(&C::rollout_mask_weight, "rollout_mask_weight",
          "mask: what is kept has its ratio as weight, or 1", one_of({"ratio", "one"}));
    field(&C::rollout_divisor, "rollout_divisor",
          "what the correction drops stays in the divisor of the loss (valid) or not (kept)",
          one_of({"valid", "kept"}));
    field(&C::veto_ratio_min, "veto_ratio_min",
          "an answer with one token's ratio below this is dropped whole; 0: none", at_least(0));
    field(&C::veto_ratio_max, "veto_ratio_max", "the same above this; 0: none", at_least(0));
    field(&C::max_staleness, "max_staleness",
          "tokens that weights of more than so many steps ago generated are dropped; needs the "
          "input versions; -1: none",
          at_least(-1));
  }

  bool has_estimator() const { return estimator != "by_options"; }
  bool whitens_actions() const { return estimator.starts_with("reinforce_plus_plus"); }
  bool has_correction() const { return rollout_correction != "none"; }
};

/// What the loss of these options is; the current version is not among them.
ObjectiveOptions objective_of(const ActorOptions& options);
/// Of options that have a correction.
CorrectionOptions correction_of(const ActorOptions& options);

/// Options that contradict one another, that need an input or another option, or change nothing.
std::vector<OptionProblem> problems_of_objective(const ActorOptions& options,
                                                 const config::CallConfig& call);

}  // namespace orrery::algorithm
