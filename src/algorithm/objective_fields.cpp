#include "orrery/algorithm/objective_fields.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>

#include "orrery/algorithm/methods.h"
#include "orrery/algorithm/ppo_options.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/config/experiment.h"

namespace orrery::algorithm {

namespace {

std::optional<double> above_0(double value) {
  return value > 0 ? std::optional<double>(value) : std::nullopt;
}

/// From here on a clip range is one for ratios of single tokens.
constexpr double kTokenClipRange = 0.1;

/// The rules, one group a method; `problems` collects what they find.
class Rules {
 public:
  Rules(const ActorOptions& options, const config::CallConfig& call)
      : options_(options), call_(call) {}

  std::vector<OptionProblem> run() {
    rewards();
    advantages();
    deviation();
    surrogate();
    aggregation();
    kl_and_entropy();
    proximal();
    correction();
    if (problems_.empty()) everything_else();
    return std::move(problems_);
  }

 private:
  void error(const char* option, const std::string& text) { problems_.push_back({option, text}); }
  void error_if(bool is_wrong, const char* option, const std::string& text) {
    if (is_wrong) error(option, text);
  }
  void unused_if(bool is_unused, const char* option, const char* without) {
    if (!is_unused) return;
    problems_.push_back({option, base::concat("has no effect without ", without),
                         OptionProblem::Severity::kWarning});
  }
  bool reads(const char* key) const { return config::find_binding(call_.inputs, key) != nullptr; }
  bool is(const char* kind) const { return options_.surrogate == kind; }
  void warn_if(bool is_odd, const char* option, const std::string& text) {
    if (is_odd) problems_.push_back({option, text, OptionProblem::Severity::kWarning});
  }

  void rewards() {
    unused_if(options_.reward_weight_2 != 1 && !reads("rewards_2"), "reward_weight_2",
              "the input rewards_2");
    unused_if(options_.reward_weight_3 != 1 && !reads("rewards_3"), "reward_weight_3",
              "the input rewards_3");
    error_if((reads("rewards_2") || reads("rewards_3")) && reads("values"), "inputs",
             "a critic learns from the one reward that it reads; add several up in the call that "
             "gives it");
    const bool has_weight = options_.reward_weight != 0 ||
                            (reads("rewards_2") && options_.reward_weight_2 != 0) ||
                            (reads("rewards_3") && options_.reward_weight_3 != 0);
    error_if(!has_weight, "reward_weight",
             "0: every answer has one reward and nothing is learned; write another weight");
    if (options_.estimator != "gdpo") return;
    for (const auto& [option, is_on] :
         {std::pair{"kl_coef", options_.kl_coef > 0},
          {"length_penalty", options_.length_penalty > 0},
          {"reward_scaling", options_.reward_scaling != 1},
          {"reward_bias", options_.reward_bias != 0},
          {"max_reward_clip", options_.max_reward_clip > 0},
          {"mask_no_eos_with_zero", options_.mask_no_eos_with_zero}}) {
      error_if(is_on, option, "estimator gdpo standardises each reward function as it is");
    }
  }

  void advantages() {
    const std::string& name = options_.estimator;
    unused_if(options_.pass_k > 0 && name != "pass_at_k", "pass_k", "estimator = pass_at_k");
    error_if(options_.pass_k == 0 && name == "pass_at_k", "pass_k",
             "estimator pass_at_k needs its k; write pass_k = 1 or more, at most group_size");
    const bool whitens = options_.whitens_actions();
    unused_if(options_.whiten_scope != "actions" && !whitens, "whiten_scope",
              "estimator = reinforce_plus_plus");
    error_if(options_.kl_reward_estimator != "k1" && !whitens, "kl_reward_estimator",
             "only estimator reinforce_plus_plus has another KL reward than k1");
    error_if(options_.whiten_scope == "sequences" && whitens &&
                 (options_.kl_coef > 0 || options_.discount != 1),
             "whiten_scope",
             "sequences whitens one number an answer, which a KL reward or a discount would make "
             "differ by action; write kl_coef = 0 and discount = 1, or whiten_scope = actions");
    if (!options_.has_estimator()) return;
    error_if(reads("values"), "estimator",
             "advantages without a critic have no use for its values; write estimator = "
             "by_options, or leave the input out");
    error_if(reads("dense_rewards") && whitens, "estimator",
             "reinforce_plus_plus has one reward an answer; leave the input dense_rewards out");
    for (const auto& [option, is_on] :
         {std::pair{"leave_one_out", options_.leave_one_out},
          {"group_adv_norm_by_token", options_.group_adv_norm_by_token},
          {"adv_norm", options_.adv_norm}}) {
      error_if(is_on, option,
               base::concat("estimator = ", name, " says what advantages are; write ", option,
                            " = false, or estimator = by_options"));
    }
    error_if(options_.group_std != "group" && name != "grpo", "group_std",
             base::concat("estimator = ", name, " does not choose whose deviation it takes"));
    const bool is_of_outcomes = name == "pass_at_k" || name == "maxrl";
    error_if(is_of_outcomes && options_.kl_coef > 0, "kl_coef",
             base::concat("estimator = ", name,
                          " is defined for rewards of outcomes; write kl_loss instead"));
    error_if(is_of_outcomes && options_.length_penalty > 0, "length_penalty",
             base::concat("estimator = ", name, " is defined for rewards of outcomes alone"));
    unused_if(options_.discount != 1 && !whitens, "discount",
              "estimator = by_options or reinforce_plus_plus");
  }

  /// What advantages that are not divided by a deviation, or that have no use for an answer alone,
  /// leave unread.
  void deviation() {
    const std::string& name = options_.estimator;
    const bool chooses_scope = name == "grpo" || (name == "by_options" && options_.group_adv_norm);
    const bool is_divided = (chooses_scope && options_.group_std != "none") || name == "gdpo" ||
                            options_.whitens_actions();
    // Of an estimator that does not choose it is an error.
    unused_if(options_.group_std != "group" && name == "by_options" && !chooses_scope, "group_std",
              "group_adv_norm or estimator = grpo");
    for (const auto& [option, is_set] :
         {std::pair{"group_std_kind", options_.group_std_kind != "population"},
          {"group_eps", options_.group_eps != 1e-5},
          {"group_eps_mode", options_.group_eps_mode != "added_to_std"}}) {
      unused_if(is_set && !is_divided, option,
                "a deviation to divide by (group_adv_norm or estimator = grpo with group_std = "
                "group or batch, gdpo, reinforce_plus_plus)");
    }
    unused_if(options_.single_answer != "zero" && name != "rloo" &&
                  !(name == "by_options" && options_.leave_one_out),
              "single_answer", "leave_one_out or estimator = rloo");
  }

  void surrogate() {
    const bool is_token_level = options_.ratio_level == "token";
    const bool clips = is("ppo_clip") || is("cispo");
    error_if(!is_token_level && (is("gmpo") || is("dppo_tv") || is("dppo_kl") || is("reinforce")),
             "ratio_level",
             base::concat("surrogate ", options_.surrogate,
                          is("reinforce") ? " has no ratio" : " is defined for ratios of tokens",
                          "; write ratio_level = token"));
    error_if(options_.c_clip > 0 && !is("ppo_clip"), "c_clip",
             base::concat("surrogate ", options_.surrogate,
                          " has no dual clip; write 0, or surrogate = ppo_clip"));
    error_if(options_.clip_range_high > 0 && !clips, "clip_range_high",
             base::concat("surrogate ", options_.surrogate, " has no such bound; write 0"));
    unused_if(
        options_.clip_range != 0.2 && !(is("ppo_clip") || (is("cispo") && needs_clip_range())),
        "clip_range", "surrogate = ppo_clip (or cispo)");
    warn_if(!is_token_level && options_.clip_range >= kTokenClipRange, "clip_range",
            base::concat(options_.clip_range,
                         " is a range for ratios of tokens: that of an answer is their geometric "
                         "mean and moves far less (GSPO: 0.0003, clip_range_high = 0.0004)"));
    warn_if(is("ppo_clip") && options_.clip_range >= 1, "clip_range",
            "from 1 on no ratio is too small: nothing is clipped below");
    warn_if(is("reinforce") && options_.ppo_epochs > 1, "ppo_epochs",
            "surrogate reinforce has no ratio: from the second pass on the answers are another "
            "policy's, and nothing corrects for that; write 1, or surrogate = importance_sampling");
    unused_if(options_.cispo_lower && !is("cispo"), "cispo_lower", "surrogate = cispo");
    unused_if((options_.sapo_tau_positive != 1) && !is("sapo"), "sapo_tau_positive",
              "surrogate = sapo");
    unused_if((options_.sapo_tau_negative != 1.05) && !is("sapo"), "sapo_tau_negative",
              "surrogate = sapo");
    const bool is_dppo = is("dppo_tv") || is("dppo_kl");
    warn_if(is("dppo_tv") && options_.dppo_threshold >= 1, "dppo_threshold",
            "from 1 on nothing is blocked: a probability cannot change by more");
    for (const auto& [option, is_set, of] :
         {std::tuple{"gmpo_clip_low", options_.gmpo_clip_low != 0.4 && !is("gmpo"), "gmpo"},
          {"gmpo_clip_high", options_.gmpo_clip_high != 0.4 && !is("gmpo"), "gmpo"},
          {"dppo_threshold", options_.dppo_threshold != 0.15 && !is_dppo, "dppo_tv or dppo_kl"}}) {
      error_if(is_set && !is_token_level, option,
               base::concat("clips single tokens, and ratio_level = ", options_.ratio_level,
                            " has a ratio of whole answers; leave it out"));
      unused_if(is_set && is_token_level, option, base::concat("surrogate = ", of).c_str());
    }
  }

  bool needs_clip_range() const { return options_.cispo_lower || options_.clip_range_high == 0; }

  void aggregation() {
    const bool is_constant = options_.aggregation == "constant";
    error_if(is_constant && options_.constant_length == 0, "constant_length",
             "aggregation constant divides by it; write the most tokens of an answer");
    unused_if(!is_constant && options_.constant_length > 0, "constant_length",
              "aggregation = constant");
    unused_if(options_.count_empty_sequences && !options_.aggregation.starts_with("seq_mean"),
              "count_empty_sequences", "a mean over sequences");
    error_if(is("gmpo") && options_.aggregation != "seq_mean_token_mean", "aggregation",
             "surrogate gmpo is a mean over sequences; write seq_mean_token_mean");
    error_if((options_.early_stop_kl > 0 || options_.early_stop_imp_ratio > 0) &&
                 options_.aggregation != "token_mean",
             options_.early_stop_kl > 0 ? "early_stop_kl" : "early_stop_imp_ratio",
             "a mean over tokens is watched; write 0, or aggregation = token_mean");
  }

  void kl_and_entropy() {
    warn_if(!options_.needs_reference() && !options_.adaptive_kl && reads("packed_ref_logprobs"),
            "inputs",
            "packed_ref_logprobs is not read with kl_coef = 0 and kl_loss = 0, and the call that "
            "writes it runs in every step; leave it out and switch that call off, or write a "
            "weight");
    error_if(
        options_.top_entropy_fraction > 0 && !reads("entropies"), "top_entropy_fraction",
        "the entropy at each token comes from the input entropies; add it to the outputs of the "
        "call that generates and to the inputs of this one");
    warn_if(options_.top_entropy_fraction == 0 && reads("entropies"), "inputs",
            "entropies are measured and not read without top_entropy_fraction; leave them out");
    warn_if(options_.top_entropy_fraction == 1, "top_entropy_fraction",
            "1 leaves out no token; write 0, or a share below 1");
    unused_if(options_.kl_loss_estimator != "k3" && options_.kl_loss == 0, "kl_loss_estimator",
              "kl_loss");
    unused_if(options_.kl_loss_gradient != "direct" && options_.kl_loss == 0, "kl_loss_gradient",
              "kl_loss");
    unused_if(options_.entropy_aggregation != "token_mean" && options_.entropy_coef == 0,
              "entropy_aggregation", "entropy_coef");
  }

  void proximal() {
    error_if(options_.behav_imp_weight_cap > 0 && options_.behav_imp_weight_cap < 1,
             "behav_imp_weight_cap",
             "below 1 drops the tokens on which generation and training agree; write 1 or more");
    error_if(options_.early_stop_imp_ratio > 0 && options_.early_stop_imp_ratio < 1,
             "early_stop_imp_ratio",
             "the mean ratio begins at 1: below that every update is stopped; write more, or 0");
    unused_if(options_.fresh_token_proximal != "behaviour" && !options_.interpolate_proximal,
              "fresh_token_proximal", "interpolate_proximal");
    warn_if(reads("versions") && !options_.interpolate_proximal && !options_.has_correction(),
            "inputs",
            "versions are not read without interpolate_proximal or rollout_correction; leave them "
            "out");
    if (!options_.interpolate_proximal) return;
    error_if(options_.recompute_log_probs, "interpolate_proximal",
             "recompute_log_probs computes the policy that this approximates; choose one");
    error_if(!reads("versions"), "interpolate_proximal",
             "the age of a token comes from the input versions; add it to the outputs of the call "
             "that generates and to the inputs of this one");
  }

  void correction() {
    warn_if(reads("sampling_logprobs") && !options_.has_correction() &&
                options_.sampling_weight_cap == 0,
            "inputs",
            "sampling_logprobs are not read without rollout_correction or sampling_weight_cap; "
            "leave them out");
    const bool has_bounds = options_.rollout_lower > 0 || options_.rollout_upper > 0;
    const bool drops =
        options_.veto_ratio_min > 0 || options_.veto_ratio_max > 0 || options_.max_staleness >= 0;
    if (!options_.has_correction()) {
      for (const auto& [option, is_on] :
           {std::pair{"rollout_lower", options_.rollout_lower > 0},
            {"rollout_upper", options_.rollout_upper > 0},
            {"rollout_level", options_.rollout_level != "token"},
            {"rollout_mask_weight", options_.rollout_mask_weight != "ratio"},
            {"rollout_divisor", options_.rollout_divisor != "valid"},
            {"veto_ratio_min", options_.veto_ratio_min > 0},
            {"veto_ratio_max", options_.veto_ratio_max > 0},
            {"max_staleness", options_.max_staleness >= 0}}) {
        error_if(is_on, option,
                 "there is no correction; write rollout_correction = truncate or "
                 "mask, or leave this out");
      }
      return;
    }
    error_if(options_.recompute_log_probs, "rollout_correction",
             "recompute_log_probs weighs each token by the same ratio already; choose one");
    error_if(options_.interpolate_proximal, "rollout_correction",
             "interpolate_proximal weighs each token against the policy that generated already; "
             "choose one");
    error_if(options_.sampling_weight_cap > 0, "sampling_weight_cap",
             "rollout_correction covers the sampling options where sampling_logprobs is an input; "
             "write 0");
    for (const auto& [option, is_wrong] :
         {std::pair{"rollout_lower", options_.rollout_lower > 1},
          {"rollout_upper", options_.rollout_upper > 0 && options_.rollout_upper < 1},
          {"veto_ratio_min", options_.veto_ratio_min > 1},
          {"veto_ratio_max", options_.veto_ratio_max > 0 && options_.veto_ratio_max < 1}}) {
      error_if(is_wrong, option,
               "leaves 1 outside, the ratio of a token on which generation and training agree");
    }
    error_if(options_.rollout_upper > 0 && options_.rollout_lower > options_.rollout_upper,
             "rollout_lower",
             base::concat("is above rollout_upper (", options_.rollout_upper, ")"));
    error_if(options_.veto_ratio_max > 0 && options_.veto_ratio_min > options_.veto_ratio_max,
             "veto_ratio_min",
             base::concat("is above veto_ratio_max (", options_.veto_ratio_max, ")"));
    error_if(options_.rollout_correction == "mask" && !has_bounds && !drops, "rollout_correction",
             "mask drops what lies outside bounds; write rollout_lower or rollout_upper");
    unused_if(options_.rollout_mask_weight != "ratio" && options_.rollout_correction != "mask",
              "rollout_mask_weight", "rollout_correction = mask");
    error_if(options_.max_staleness >= 0 && !reads("versions"), "max_staleness",
             "the age of a token comes from the input versions; add it to the outputs of the call "
             "that generates and to the inputs of this one, or write -1");
  }

  /// What the loss would refuse when it runs.
  void everything_else() {
    try {
      ObjectiveOptions objective = objective_of(options_);
      objective.proximal.current_version = 0;
      check(objective);
      if (options_.has_correction()) check(correction_of(options_));
    } catch (const Error& refused) {
      error("surrogate", refused.what());
    }
  }

  const ActorOptions& options_;
  const config::CallConfig& call_;
  std::vector<OptionProblem> problems_;
};

}  // namespace

std::vector<std::string> method_choices() {
  std::vector<std::string> choices = {"none"};
  for (const Method& method : methods()) choices.emplace_back(method.name);
  return choices;
}

ObjectiveOptions objective_of(const ActorOptions& options) {
  ObjectiveOptions objective;
  SurrogateOptions& surrogate = objective.surrogate;
  surrogate.kind = surrogate_named(options.surrogate);
  surrogate.ratio_level = ratio_level_named(options.ratio_level);
  surrogate.eps_high = options.clip_range_high > 0 ? options.clip_range_high : options.clip_range;
  if (surrogate.kind != SurrogateKind::kCispo || options.cispo_lower) {
    surrogate.eps_low = options.clip_range;
  }
  surrogate.dual_clip = above_0(options.c_clip);
  surrogate.tau_positive = options.sapo_tau_positive;
  surrogate.tau_negative = options.sapo_tau_negative;
  surrogate.log_clip_low = options.gmpo_clip_low;
  surrogate.log_clip_high = options.gmpo_clip_high;
  surrogate.divergence_threshold = options.dppo_threshold;
  objective.aggregation = {.kind = aggregation_named(options.aggregation),
                           .constant_length = options.constant_length,
                           .count_empty_sequences = options.count_empty_sequences};
  objective.kl = {.coefficient = options.kl_loss,
                  .estimator = kl_estimator_named(options.kl_loss_estimator),
                  .gradient = kl_gradient_named(options.kl_loss_gradient)};
  objective.entropy = {.coefficient = options.entropy_coef,
                       .aggregation = entropy_aggregation_named(options.entropy_aggregation),
                       .top_fraction = above_0(options.top_entropy_fraction)};
  if (options.recompute_log_probs) objective.proximal.kind = Proximal::kGiven;
  if (options.interpolate_proximal) objective.proximal.kind = Proximal::kInterpolated;
  objective.proximal.weight_cap = above_0(options.behav_imp_weight_cap);
  objective.proximal.fresh_token = fresh_token_named(options.fresh_token_proximal);
  objective.off_policy_mask_threshold = above_0(options.off_policy_mask);
  objective.log_ratio_limit = options.log_ratio_limit;
  return objective;
}

CorrectionOptions correction_of(const ActorOptions& options) {
  CorrectionOptions correction{.mode = correction_mode_named(options.rollout_correction),
                               .level = correction_level_named(options.rollout_level),
                               .lower = above_0(options.rollout_lower),
                               .upper = above_0(options.rollout_upper),
                               .mask_weight = mask_weight_named(options.rollout_mask_weight),
                               .veto_ratio_min = above_0(options.veto_ratio_min),
                               .veto_ratio_max = above_0(options.veto_ratio_max)};
  if (options.max_staleness >= 0) correction.max_staleness = options.max_staleness;
  return correction;
}

std::vector<OptionProblem> problems_of_objective(const ActorOptions& options,
                                                 const config::CallConfig& call) {
  return Rules(options, call).run();
}

}  // namespace orrery::algorithm
