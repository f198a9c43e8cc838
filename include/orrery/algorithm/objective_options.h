// What a policy loss is made of, as values: the ratio, the surrogate of it that is maximised, how
// actions are averaged, KL divergence, entropy, proximal policy. policy_objective.h computes it;
// the words are those of the configuration (ppo_options.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace orrery::algorithm {

/// What is clipped and multiplied by the advantage: exp(log_probs - denominator) of an action, or
/// of its sequence by the mean over the sequence's actions (GSPO, arXiv 2507.18071), with a
/// gradient through all of them or (sequence_token) through the own action only.
enum class RatioLevel { kToken, kSequence, kSequenceToken };

enum class SurrogateKind {
  kPpoClip,             ///< arXiv 1707.06347, 1912.09729 (dual clip), 2503.14476 (clip-higher)
  kCispo,               ///< arXiv 2506.13585
  kSapo,                ///< arXiv 2511.20347
  kGmpo,                ///< arXiv 2507.20673
  kReinforce,           ///< Williams 1992
  kImportanceSampling,  ///< the ratio without a clip
  kDppoTv,              ///< arXiv 2602.04879, total variation
  kDppoKl,              ///< the same with the binary KL divergence
};

/// Of the losses of actions: sum / actions; mean over sequences of their mean or sum; or sum /
/// (sequences * constant length) (Dr. GRPO, arXiv 2503.20783).
enum class Aggregation { kTokenMean, kSeqMeanTokenMean, kSeqMeanTokenSum, kConstant };

/// Of x = log_probs - ref_log_probs (Schulman 2020): x, x^2 / 2, exp(-x) - 1 + x.
enum class KlEstimator { kK1, kK2, kK3 };

enum class KlGradient {
  kDirect,              ///< that of the estimate
  kStraightThroughK2,   ///< of k2: unbiased for the reverse KL on policy
  kImportanceWeighted,  ///< estimate * ratio, through both (arXiv 2512.02556)
};

/// Which policy the ratio is to: the behaviour policy (none), log-probabilities that are given
/// (arXiv 2110.00641), or a point between behaviour and current policy (A-3PO, arXiv 2512.06547).
enum class Proximal { kNone, kGiven, kInterpolated };

/// The proximal policy of a token of the current version.
enum class FreshToken { kBehaviour, kCurrent };

enum class EntropyAggregation { kTokenMean, kSameAsLoss };

/// By the words of the configuration (`token`, `ppo_clip`, `token_mean`, `k1`, `direct`, `none`,
/// `behaviour`, ...). Throw ConfigError for another one.
RatioLevel ratio_level_named(std::string_view name);
SurrogateKind surrogate_named(std::string_view name);
Aggregation aggregation_named(std::string_view name);
KlEstimator kl_estimator_named(std::string_view name);
KlGradient kl_gradient_named(std::string_view name);
Proximal proximal_named(std::string_view name);
FreshToken fresh_token_named(std::string_view name);
EntropyAggregation entropy_aggregation_named(std::string_view name);

struct SurrogateOptions {
  SurrogateKind kind = SurrogateKind::kPpoClip;
  RatioLevel ratio_level = RatioLevel::kToken;
  std::optional<double> eps_low = {};   ///< ppo_clip, cispo (none: no lower bound): 1 - eps_low
  std::optional<double> eps_high = {};  ///< ppo_clip, cispo: 1 + eps_high
  std::optional<double> dual_clip = {};
  std::optional<double> tau_positive = {};  ///< sapo
  std::optional<double> tau_negative = {};
  std::optional<double> log_clip_low = {};  ///< gmpo
  std::optional<double> log_clip_high = {};
  std::optional<double> divergence_threshold = {};  ///< dppo
};

struct AggregationOptions {
  Aggregation kind = Aggregation::kTokenMean;
  int64_t constant_length = 0;
  bool count_empty_sequences = false;  ///< in the means over sequences
};

struct KlLossOptions {
  double coefficient = 0;
  KlEstimator estimator = KlEstimator::kK3;
  KlGradient gradient = KlGradient::kDirect;
};

struct EntropyOptions {
  double coefficient = 0;
  EntropyAggregation aggregation = EntropyAggregation::kTokenMean;
  std::optional<double> top_fraction = {};  ///< arXiv 2506.01939
};

struct ProximalOptions {
  Proximal kind = Proximal::kNone;
  std::optional<double> weight_cap = {};
  std::optional<int64_t> current_version = {};
  FreshToken fresh_token = FreshToken::kBehaviour;
};

struct ObjectiveOptions {
  SurrogateOptions surrogate = {};
  AggregationOptions aggregation = {};
  KlLossOptions kl = {};
  EntropyOptions entropy = {};
  ProximalOptions proximal = {};
  std::optional<double> off_policy_mask_threshold = {};  ///< arXiv 2512.02556
  double log_ratio_limit = 0;  ///< log-ratios of the loss are within +- this; 0: none
};

/// Throws ConfigError for an option out of range, one that the surrogate needs and has not, and a
/// surrogate that is not defined for the ratio level or the aggregation.
void check(const ObjectiveOptions& options);

}  // namespace orrery::algorithm
