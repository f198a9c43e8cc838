#include "orrery/algorithm/ppo_options.h"

#include <algorithm>
#include <utility>

#include "orrery/base/text.h"
#include "orrery/config/experiment.h"

namespace orrery::algorithm {

namespace {

bool reads(const config::CallConfig& call, const char* key) {
  return config::find_binding(call.inputs, key) != nullptr;
}

/// A KL term named `option` that has nothing to be computed from.
std::vector<OptionProblem> missing_reference(const config::CallConfig& call, const char* option) {
  if (call.kind != "train_step" || reads(call, "packed_ref_logprobs")) return {};
  return {{option,
           "a KL term needs the input packed_ref_logprobs, which a call of a reference "
           "model writes; or set it to 0"}};
}

OptionProblem without_effect(const char* option, const char* why) {
  return {option, base::concat("has no effect ", why), OptionProblem::Severity::kWarning};
}

/// adv_norm beside a normalisation by group that has divided already.
std::vector<OptionProblem> normalised_twice(const ActorOptions& options) {
  const bool is_divided =
      options.group_adv_norm_by_token || (options.group_adv_norm && options.group_std != "none");
  if (!options.adv_norm || !is_divided) return {};
  return {{"adv_norm",
           base::concat("advantages would be divided by two deviations, first by that of ",
                        options.group_adv_norm ? "group_adv_norm" : "group_adv_norm_by_token",
                        "; switch one of the two off, or write group_std = none, which takes only "
                        "the group's mean off")}};
}

/// What contradicts in the options of a policy or critic, and what has no effect.
std::vector<OptionProblem> problems_of_estimation(const EstimationOptions& options,
                                                  const config::CallConfig& call) {
  std::vector<OptionProblem> found;
  if (call.kind != "train_step") return found;
  if (options.adaptive_kl && options.kl_coef == 0) {
    found.push_back({"adaptive_kl",
                     "kl_coef is 0 and a factor cannot change that; write a kl_coef "
                     "above 0 to begin with"});
  }
  if (options.reward_scaling == 0) {
    found.push_back({"reward_scaling", "0 makes every reward the same: nothing would be learned"});
  }
  if (options.length_free > 0 && options.length_penalty == 0) {
    found.push_back(without_effect("length_free", "without length_penalty"));
  }
  const EstimationOptions defaults;
  for (const auto& [option, is_set] :
       {std::pair{"value_norm_type", options.value_norm_type != defaults.value_norm_type},
        {"value_norm_beta", options.value_norm_beta != defaults.value_norm_beta},
        {"value_norm_eps", options.value_norm_eps != defaults.value_norm_eps}}) {
    if (is_set && !options.value_norm) {
      found.push_back(without_effect(option, "without value_norm = true"));
    }
  }
  for (const auto& [option, is_set] :
       {std::pair{"adaptive_kl_target", options.adaptive_kl_target != defaults.adaptive_kl_target},
        {"adaptive_kl_horizon", options.adaptive_kl_horizon != defaults.adaptive_kl_horizon}}) {
    if (is_set && !options.adaptive_kl) {
      found.push_back(without_effect(option, "without adaptive_kl = true"));
    }
  }
  if (options.value_norm && !reads(call, "values")) {
    found.push_back(without_effect("value_norm", "without the input values of a critic"));
  }
  return found;
}

}  // namespace

std::vector<OptionProblem> ActorOptions::problems(const config::CallConfig& call) const {
  std::vector<OptionProblem> found = problems_of_estimation(*this, call);
  if (needs_reference()) {
    for (auto& each : missing_reference(call, kl_coef > 0 ? "kl_coef" : "kl_loss")) {
      found.push_back(std::move(each));
    }
  }
  if (sampling_weight_cap > 0 && call.kind == "train_step" && !reads(call, "sampling_logprobs")) {
    found.push_back({"sampling_weight_cap",
                     "a correction for the sampling options needs the input sampling_logprobs; add "
                     "it to the outputs of the call that generates and to the inputs of this one, "
                     "or set it to 0"});
  }
  if (call.kind == "train_step") {
    if (behav_imp_weight_cap > 0 && !recompute_log_probs && !interpolate_proximal) {
      found.push_back(without_effect("behav_imp_weight_cap", "without recompute_log_probs"));
    }
    const bool is_by_options = !has_estimator();
    if (is_by_options && group_adv_norm && group_adv_norm_by_token) {
      found.push_back(
          {"group_adv_norm_by_token",
           "group_adv_norm is on as well: statistics are per answer or per token; write "
           "group_adv_norm = false"});
    }
    if (is_by_options && group_adv_norm && reads(call, "values")) {
      found.push_back({"group_adv_norm",
                       "an advantage per answer has no use for the values of a "
                       "critic; write adv_norm, or use interface grpo"});
    }
    // Beside a critic's values group_adv_norm is refused already.
    if (is_by_options && !(group_adv_norm && reads(call, "values"))) {
      for (auto& each : normalised_twice(*this)) found.push_back(std::move(each));
    }
    if (is_by_options && group_adv_norm && reads(call, "dense_rewards")) {
      found.push_back({"group_adv_norm",
                       "the rewards of an answer's tokens are added up to one; group_adv_norm = "
                       "false keeps them apart",
                       OptionProblem::Severity::kWarning});
    }
    for (const auto& [option, is_set] : {std::pair{"discount", discount != 1},
                                         {"gae_lambda", gae_lambda != 1},
                                         {"leave_one_out", leave_one_out}}) {
      if (is_by_options && group_adv_norm && is_set)
        found.push_back(without_effect(option, "beside group_adv_norm"));
    }
  }
  if (c_clip != 0 && c_clip <= 1) {
    found.push_back({"c_clip", base::concat("must be 0 or above 1, got ", c_clip)});
  } else if (call.kind == "train_step") {
    for (auto& each : problems_of_objective(*this, call)) found.push_back(std::move(each));
  }
  return found;
}

std::vector<OptionProblem> PpoCriticOptions::problems(const config::CallConfig& call) const {
  std::vector<OptionProblem> found = problems_of_estimation(*this, call);
  if (kl_coef > 0) {
    for (auto& each : missing_reference(call, "kl_coef")) found.push_back(std::move(each));
  } else if (!adaptive_kl && call.kind == "train_step" && reads(call, "packed_ref_logprobs")) {
    found.push_back({"inputs", "packed_ref_logprobs is not read with kl_coef = 0; leave it out",
                     OptionProblem::Severity::kWarning});
  }
  return found;
}

}  // namespace orrery::algorithm
