#include "orrery/algorithm/objective_options.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

template <class Kind>
using Names = std::vector<std::pair<const char*, Kind>>;

template <class Kind>
Kind named(const char* what, std::string_view name, const Names<Kind>& names) {
  std::vector<std::string> known;
  for (const auto& [text, kind] : names) {
    if (text == name) return kind;
    known.emplace_back(text);
  }
  throw ConfigError(what,
                    {.expected = base::join(known, ", "), .got = std::string(name), .advice = {}});
}

[[noreturn]] void refuse(const char* option, const char* expected, const std::string& got) {
  throw ConfigError(option, {.expected = expected, .got = got, .advice = {}});
}

/// `value` is there, finite, and at least (or above) 0.
void check_given(const char* option, const std::optional<double>& value, bool above_0 = false) {
  if (!value) refuse(option, "a number, which this surrogate needs", "none");
  if (!std::isfinite(*value) || *value < 0 || (above_0 && *value == 0)) {
    refuse(option, above_0 ? "above 0" : "at least 0", base::concat(*value));
  }
}

void check_surrogate(const SurrogateOptions& options, const AggregationOptions& aggregation) {
  const bool is_token_level = options.ratio_level == RatioLevel::kToken;
  switch (options.kind) {
    case SurrogateKind::kPpoClip:
      check_given("lower clip range", options.eps_low);
      check_given("upper clip range", options.eps_high);
      break;
    case SurrogateKind::kCispo:
      if (options.eps_low) check_given("lower clip range", options.eps_low);
      check_given("upper clip range", options.eps_high);
      break;
    case SurrogateKind::kSapo:
      check_given("temperature of sapo for positive advantages", options.tau_positive, true);
      check_given("temperature of sapo for negative advantages", options.tau_negative, true);
      break;
    case SurrogateKind::kGmpo:
      check_given("lower clip range of the log-ratio", options.log_clip_low);
      check_given("upper clip range of the log-ratio", options.log_clip_high);
      if (!is_token_level) refuse("gmpo", "ratio level token", "another ratio level");
      if (aggregation.kind != Aggregation::kSeqMeanTokenMean) {
        refuse("gmpo", "aggregation seq_mean_token_mean", "another aggregation");
      }
      break;
    case SurrogateKind::kDppoTv:
    case SurrogateKind::kDppoKl:
      check_given("divergence threshold", options.divergence_threshold);
      if (!is_token_level) refuse("dppo", "ratio level token", "another ratio level");
      break;
    case SurrogateKind::kReinforce:
    case SurrogateKind::kImportanceSampling:
      break;
  }
  if (options.dual_clip && !(*options.dual_clip > 1)) {
    throw ConfigError("dual clip", {.expected = "above 1",
                                    .got = base::concat(*options.dual_clip),
                                    .advice = "leave it 0 for no dual clipping"});
  }
}

}  // namespace

RatioLevel ratio_level_named(std::string_view name) {
  return named<RatioLevel>("ratio level", name,
                           {{"token", RatioLevel::kToken},
                            {"sequence", RatioLevel::kSequence},
                            {"sequence_token", RatioLevel::kSequenceToken}});
}

SurrogateKind surrogate_named(std::string_view name) {
  return named<SurrogateKind>("surrogate", name,
                              {{"ppo_clip", SurrogateKind::kPpoClip},
                               {"cispo", SurrogateKind::kCispo},
                               {"sapo", SurrogateKind::kSapo},
                               {"gmpo", SurrogateKind::kGmpo},
                               {"reinforce", SurrogateKind::kReinforce},
                               {"importance_sampling", SurrogateKind::kImportanceSampling},
                               {"dppo_tv", SurrogateKind::kDppoTv},
                               {"dppo_kl", SurrogateKind::kDppoKl}});
}

Aggregation aggregation_named(std::string_view name) {
  return named<Aggregation>("aggregation", name,
                            {{"token_mean", Aggregation::kTokenMean},
                             {"seq_mean_token_mean", Aggregation::kSeqMeanTokenMean},
                             {"seq_mean_token_sum", Aggregation::kSeqMeanTokenSum},
                             {"constant", Aggregation::kConstant}});
}

KlEstimator kl_estimator_named(std::string_view name) {
  return named<KlEstimator>(
      "KL estimator", name,
      {{"k1", KlEstimator::kK1}, {"k2", KlEstimator::kK2}, {"k3", KlEstimator::kK3}});
}

KlGradient kl_gradient_named(std::string_view name) {
  return named<KlGradient>("gradient of the KL estimate", name,
                           {{"direct", KlGradient::kDirect},
                            {"straight_through_k2", KlGradient::kStraightThroughK2},
                            {"importance_weighted", KlGradient::kImportanceWeighted}});
}

Proximal proximal_named(std::string_view name) {
  return named<Proximal>("proximal policy", name,
                         {{"none", Proximal::kNone},
                          {"given", Proximal::kGiven},
                          {"interpolated", Proximal::kInterpolated}});
}

FreshToken fresh_token_named(std::string_view name) {
  return named<FreshToken>(
      "proximal policy of fresh tokens", name,
      {{"behaviour", FreshToken::kBehaviour}, {"current", FreshToken::kCurrent}});
}

EntropyAggregation entropy_aggregation_named(std::string_view name) {
  return named<EntropyAggregation>("aggregation of the entropy", name,
                                   {{"token_mean", EntropyAggregation::kTokenMean},
                                    {"same_as_loss", EntropyAggregation::kSameAsLoss}});
}

void check(const ObjectiveOptions& options) {
  check_surrogate(options.surrogate, options.aggregation);
  if (options.aggregation.kind == Aggregation::kConstant &&
      options.aggregation.constant_length < 1) {
    refuse("constant length", "at least 1 with aggregation constant",
           base::concat(options.aggregation.constant_length));
  }
  if (!std::isfinite(options.kl.coefficient) || options.kl.coefficient < 0) {
    refuse("weight of the KL term", "at least 0", base::concat(options.kl.coefficient));
  }
  if (!std::isfinite(options.entropy.coefficient)) {
    refuse("weight of the entropy", "a finite number", base::concat(options.entropy.coefficient));
  }
  const std::optional<double>& fraction = options.entropy.top_fraction;
  if (fraction && !(*fraction > 0 && *fraction <= 1)) {
    refuse("fraction of high-entropy tokens", "above 0, at most 1", base::concat(*fraction));
  }
  const std::optional<double>& cap = options.proximal.weight_cap;
  if (cap && !(*cap > 0)) {
    refuse("cap of the behaviour weight", "above 0", base::concat(*cap));
  }
  if (options.proximal.kind == Proximal::kInterpolated && !options.proximal.current_version) {
    refuse("interpolated proximal policy", "the current version", "none");
  }
  const std::optional<double>& threshold = options.off_policy_mask_threshold;
  if (threshold && std::isnan(*threshold)) {
    refuse("threshold of off-policy sequences", "a number", "nan");
  }
}

}  // namespace orrery::algorithm
