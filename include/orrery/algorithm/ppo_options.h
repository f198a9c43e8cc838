// Options of the interfaces that learn from generated answers and their rewards: `grpo`,
// `ppo_actor` and `ppo_critic`. What all of them need to turn rewards into advantages and returns
// is EstimationOptions; those of an actor and a critic of one graph are the same (agreements.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "orrery/algorithm/objective_fields.h"
#include "orrery/algorithm/option_problem.h"
#include "orrery/config/field.h"

namespace orrery::algorithm {

struct EstimationOptions {
  int64_t n_minibatches = 1;
  int64_t ppo_epochs = 1;
  double kl_coef = 0;
  bool adaptive_kl = false;
  double adaptive_kl_target = 6;
  double adaptive_kl_horizon = 10'000;
  double discount = 1;
  double gae_lambda = 1;
  double max_reward_clip = 5;
  double log_ratio_limit = 20;
  double reward_scaling = 1;
  double reward_bias = 0;
  bool reward_delta = true;
  double length_penalty = 0;
  int64_t length_free = 0;
  bool leave_one_out = false;
  std::string single_answer = "zero";
  bool skip_uniform_groups = false;
  int64_t best_of = 0;
  bool mask_no_eos_with_zero = false;
  bool mask_too_long = false;
  bool value_norm = false;
  std::string value_norm_type = "exp";
  double value_norm_beta = 0.99995;
  double value_norm_eps = 1e-5;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = EstimationOptions;
    using config::anything;
    using config::at_least;
    using config::in_range;
    field(&C::n_minibatches, "n_minibatches", "optimizer steps for each batch", at_least(1));
    field(&C::ppo_epochs, "ppo_epochs", "times that each batch is gone through", at_least(1));
    field(&C::kl_coef, "kl_coef",
          "weight of the KL reward against packed_ref_logprobs; 0: none, not read", at_least(0));
    field(&C::adaptive_kl, "adaptive_kl", "kl_coef is steered towards a divergence", anything());
    field(&C::adaptive_kl_target, "adaptive_kl_target", "mean divergence per token to hold",
          config::above(0));
    field(&C::adaptive_kl_horizon, "adaptive_kl_horizon",
          "sequences over which kl_coef changes by its difference", config::above(0));
    field(&C::discount, "discount", "gamma of the advantage estimation", in_range(0, 1));
    field(&C::gae_lambda, "gae_lambda", "lambda of the advantage estimation", in_range(0, 1));
    field(&C::max_reward_clip, "max_reward_clip", "rewards are clipped to +- this; 0: not at all",
          at_least(0));
    field(
        &C::log_ratio_limit, "log_ratio_limit",
        "log-ratios in loss terms and KL rewards are within +- this, KL terms of the loss at most "
        "10; metrics are not bounded; 0: no limit",
        at_least(0));
    field(&C::reward_scaling, "reward_scaling", "rewards are multiplied by this ...", anything());
    field(&C::reward_bias, "reward_bias", "... after this was subtracted", anything());
    field(&C::reward_delta, "reward_delta",
          "with the input dense_rewards: a token's reward is the change of the score", anything());
    field(&C::length_penalty, "length_penalty",
          "subtracted from the reward for each answer token above length_free", at_least(0));
    field(&C::length_free, "length_free", "answer tokens without a penalty", at_least(0));
    field(&C::leave_one_out, "leave_one_out",
          "the mean reward of the prompt's other answers is subtracted (RLOO)", anything());
    field(&C::single_answer, "single_answer",
          "leave_one_out of an answer whose group has no other: zero, or its own reward",
          config::one_of({"zero", "keep_reward"}));
    field(&C::skip_uniform_groups, "skip_uniform_groups",
          "prompts whose answers all have one reward are not learned from", anything());
    field(&C::best_of, "best_of",
          "only so many answers of each prompt are learned from, the best ones; 0: all",
          at_least(0));
    field(&C::mask_no_eos_with_zero, "mask_no_eos_with_zero",
          "answers without an end token get no reward", anything());
    field(&C::mask_too_long, "mask_too_long", "answers without an end token are not learned from",
          anything());
    field(&C::value_norm, "value_norm", "the critic learns normalised returns", anything());
    field(&C::value_norm_type, "value_norm_type",
          "moments of the returns: exp (decaying) or ma (over everything seen)",
          config::one_of({"exp", "ma"}));
    field(&C::value_norm_beta, "value_norm_beta", "decay of exp", in_range(0, 1));
    field(&C::value_norm_eps, "value_norm_eps", "smallest debiasing term of exp", config::above(0));
  }
};

/// Of a policy, whatever its baseline is.
struct ActorOptions : EstimationOptions, ObjectiveFields {
  double temperature = 1;
  double clip_range = 0.2;
  double c_clip = 0;
  double kl_loss = 0;
  bool group_adv_norm = false;
  std::string group_std = "group";
  std::string group_std_kind = "population";
  double group_eps = 1e-5;
  std::string group_eps_mode = "added_to_std";
  bool group_adv_norm_by_token = false;
  bool adv_norm = false;
  bool recompute_log_probs = false;
  double behav_imp_weight_cap = 0;
  double sampling_weight_cap = 0;
  double early_stop_imp_ratio = 0;
  double early_stop_kl = 0;
  std::string match = "exact";

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = ActorOptions;
    using config::anything;
    using config::at_least;
    EstimationOptions::visit_fields(field);
    ObjectiveFields::visit_fields(field);
    field(&C::temperature, "temperature", "as in generation: divides the logits", config::above(0));
    field(&C::clip_range, "clip_range", "the ratio is clipped to 1 - eps .. 1 + eps", at_least(0));
    field(&C::c_clip, "c_clip", "dual clipping, above 1; 0: none", at_least(0));
    field(&C::kl_loss, "kl_loss",
          "weight of the KL divergence from packed_ref_logprobs in the loss; 0: none, not read",
          at_least(0));
    field(&C::group_adv_norm, "group_adv_norm",
          "the advantage of an answer is its reward against mean and deviation of the prompt's "
          "answers, each counted once",
          anything());
    field(&C::group_std, "group_std",
          "with group_adv_norm: divided by the deviation of the prompt's answers (group), of all "
          "answers of the batch (batch), or by nothing (none: Dr. GRPO)",
          config::one_of({"group", "batch", "none"}));
    field(&C::group_std_kind, "group_std_kind",
          "population: divided by their number; sample: by one less",
          config::one_of({"population", "sample"}));
    field(&C::group_eps, "group_eps", "epsilon of that deviation", at_least(0));
    field(&C::group_eps_mode, "group_eps_mode",
          "sqrt(variance) + eps, sqrt(variance + eps), or sqrt of the larger of both",
          config::one_of({"added_to_std", "added_to_variance", "variance_floor"}));
    field(
        &C::group_adv_norm_by_token, "group_adv_norm_by_token",
        "the older form: mean and deviation over the tokens of the prompt's answers, so that long "
        "answers count for more",
        anything());
    field(&C::adv_norm, "adv_norm", "normalise advantages over the whole batch of all data ranks",
          anything());
    field(&C::recompute_log_probs, "recompute_log_probs",
          "decoupled loss: the ratio is to log-probabilities computed before the train step",
          anything());
    field(&C::behav_imp_weight_cap, "behav_imp_weight_cap",
          "with recompute_log_probs: tokens with a larger weight are dropped; 0: none",
          at_least(0));
    field(&C::sampling_weight_cap, "sampling_weight_cap",
          "corrects for top_k, top_p and masked tokens of generation: a token's loss is multiplied "
          "by min(cap, exp(packed_logprobs - sampling_logprobs)); 0: no correction",
          at_least(0));
    field(&C::early_stop_imp_ratio, "early_stop_imp_ratio",
          "skip a minibatch whose mean ratio is above this; 0: never", at_least(0));
    field(&C::early_stop_kl, "early_stop_kl",
          "skip a minibatch whose mean approx_kl is above this; 0: never", at_least(0));
    field(&C::match, "match", "when an evaluated answer is right",
          config::one_of({"exact", "numeric", "math"}));
  }

  bool needs_reference() const { return kl_coef > 0 || kl_loss > 0; }

  /// c_clip at or below 1; a KL term without the reference's log-probabilities; options that
  /// contradict one another or have no effect.
  std::vector<OptionProblem> problems(const config::CallConfig& call) const;
};

/// Group relative: the answers of a prompt are each other's baseline (Shao et al. 2024).
struct GrpoOptions : ActorOptions {
  GrpoOptions() {
    group_adv_norm = true;
    max_reward_clip = 0;
  }
};

/// With a critic's values as the baseline (Schulman et al. 2017; Ouyang et al. 2022).
struct PpoActorOptions : ActorOptions {
  PpoActorOptions() {
    kl_coef = 0.1;
    gae_lambda = 0.95;
    adv_norm = true;
  }
};

struct PpoCriticOptions : EstimationOptions {
  double value_clip_range = 0.2;
  std::string value_loss = "mse";

  PpoCriticOptions() {
    kl_coef = 0.1;
    gae_lambda = 0.95;
  }

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = PpoCriticOptions;
    EstimationOptions::visit_fields(field);
    field(&C::value_clip_range, "value_clip_range",
          "values are clipped to this around the old ones", config::at_least(0));
    field(&C::value_loss, "value_loss", "distance of value and return",
          config::one_of({"mse", "huber"}));
  }

  /// A KL reward without the reference's log-probabilities.
  std::vector<OptionProblem> problems(const config::CallConfig& call) const;
};

}  // namespace orrery::algorithm
