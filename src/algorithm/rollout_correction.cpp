#include "orrery/algorithm/rollout_correction.h"

#include <ATen/ATen.h>

#include <cmath>
#include <string>
#include <utility>

#include "orrery/algorithm/sequence_actions.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

[[noreturn]] void refuse(const char* what, const char* expected, const std::string& got) {
  throw ConfigError(what, {.expected = expected, .got = got, .advice = {}});
}

void check_bounds(const char* what, const std::optional<double>& low,
                  const std::optional<double>& high) {
  for (const std::optional<double>& bound : {low, high}) {
    if (bound && !(*bound >= 0)) refuse(what, "at least 0", base::concat(*bound));
  }
  if (low && high && *low > *high) {
    refuse(what, "the lower one first", base::concat(*low, " and ", *high));
  }
}

void check_input(const CorrectionInput& input, const CorrectionOptions& options) {
  for (const at::Tensor& each : {input.behaviour_log_probs, input.old_log_probs, input.versions}) {
    if (!each.defined() || each.numel() == input.mask.numel()) continue;
    throw ShapeError("rollout correction: inputs differ in size",
                     {.expected = base::concat(input.mask.numel(), " actions everywhere"),
                      .got = base::concat(each.numel()),
                      .advice = {}});
  }
  for (const at::Tensor& each : {input.behaviour_log_probs, input.old_log_probs}) {
    if (at::isfinite(each).logical_or(input.mask.logical_not()).all().item<bool>()) continue;
    throw CallError(
        "rollout correction: log-probabilities",
        {.expected = "finite ones of all valid actions", .got = "others", .advice = {}});
  }
  if (options.max_staleness && !(input.versions.defined() && options.current_version)) {
    refuse("largest staleness", "versions of the actions and the current one", "none");
  }
  if (input.versions.defined() && options.current_version && input.versions.numel() > 0 &&
      input.versions.max().item<int64_t>() > *options.current_version) {
    throw CallError(
        "versions of the weights that generated",
        {.expected = base::concat("at most the current one, ", *options.current_version),
         .got = base::concat(input.versions.max().item<int64_t>()),
         .advice = {}});
  }
}

at::Tensor ratio_at(CorrectionLevel level, const SequenceActions& sequences,
                    const at::Tensor& log_ratio) {
  switch (level) {
    case CorrectionLevel::kToken:
      return log_ratio.exp();
    case CorrectionLevel::kSequence:
      return sequences.spread(sequences.sums(log_ratio)).exp();
    case CorrectionLevel::kGeometric:
      break;
  }
  return sequences.spread(sequences.means(log_ratio)).exp();
}

/// [A] bool; nowhere without a bound.
at::Tensor is_above(const at::Tensor& ratio, const std::optional<double>& bound) {
  return bound ? ratio.gt(*bound) : at::zeros_like(ratio, at::kBool);
}
at::Tensor is_below(const at::Tensor& ratio, const std::optional<double>& bound) {
  return bound ? ratio.lt(*bound) : at::zeros_like(ratio, at::kBool);
}

double count(const at::Tensor& mask) { return mask.sum().item<double>(); }

}  // namespace

CorrectionMode correction_mode_named(std::string_view name) {
  if (name == "truncate") return CorrectionMode::kTruncate;
  if (name == "mask") return CorrectionMode::kMask;
  refuse("rollout correction", "truncate or mask", std::string(name));
}

CorrectionLevel correction_level_named(std::string_view name) {
  if (name == "token") return CorrectionLevel::kToken;
  if (name == "sequence") return CorrectionLevel::kSequence;
  if (name == "geometric") return CorrectionLevel::kGeometric;
  refuse("level of the rollout correction", "token, sequence or geometric", std::string(name));
}

MaskWeight mask_weight_named(std::string_view name) {
  if (name == "ratio") return MaskWeight::kRatio;
  if (name == "one") return MaskWeight::kOne;
  refuse("weight of what the rollout correction keeps", "ratio or one", std::string(name));
}

void check(const CorrectionOptions& options) {
  check_bounds("bounds of the rollout correction", options.lower, options.upper);
  check_bounds("bounds of the veto", options.veto_ratio_min, options.veto_ratio_max);
  if (options.max_staleness && *options.max_staleness < 0) {
    refuse("largest staleness", "at least 0", base::concat(*options.max_staleness));
  }
}

double RolloutCorrection::effective_sample_fraction() const {
  const double divisor = n_valid * weight_square_sum;
  return divisor > 0 ? weight_sum * weight_sum / divisor : 0;
}

RolloutCorrection rollout_correction(const CorrectionInput& input,
                                     const CorrectionOptions& options) {
  check(options);
  const SequenceActions sequences(input.lengths, input.mask);
  check_input(input, options);
  const at::Tensor log_ratio = at::where(
      input.mask, input.old_log_probs.to(at::kDouble) - input.behaviour_log_probs.to(at::kDouble),
      0.0);
  const at::Tensor ratio = ratio_at(options.level, sequences, log_ratio);
  const at::Tensor above = is_above(ratio, options.upper).logical_and(input.mask);
  const at::Tensor below = is_below(ratio, options.lower).logical_and(input.mask);

  RolloutCorrection result;
  result.kept = input.mask;
  at::Tensor weights = ratio;
  if (options.mode == CorrectionMode::kTruncate) {
    if (options.lower || options.upper) weights = ratio.clamp(options.lower, options.upper);
  } else {
    result.kept = result.kept.logical_and(above.logical_or(below).logical_not());
    if (options.mask_weight == MaskWeight::kOne) weights = at::ones_like(ratio);
  }
  const at::Tensor of_token = log_ratio.exp();
  const at::Tensor is_vetoed = is_above(of_token, options.veto_ratio_max)
                                   .logical_or(is_below(of_token, options.veto_ratio_min))
                                   .logical_and(input.mask);
  const at::Tensor vetoed = sequences.sums(is_vetoed.to(at::kDouble)).gt(0);
  result.kept = result.kept.logical_and(sequences.spread(vetoed).logical_not());
  for (int64_t i = 0; i < vetoed.numel(); ++i) {
    if (vetoed.const_data_ptr<bool>()[i]) result.vetoed_sequences.push_back(i);
  }
  if (options.max_staleness) {
    const at::Tensor age = *options.current_version - input.versions;
    result.kept = result.kept.logical_and(age.le(*options.max_staleness));
  }
  result.weights = at::where(result.kept, weights, 0.0);
  result.n_valid = count(input.mask);
  result.n_above = count(above);
  result.n_below = count(below);
  result.n_kept = count(result.kept);
  result.weight_sum = result.weights.sum().item<double>();
  result.weight_square_sum = result.weights.square().sum().item<double>();
  return result;
}

}  // namespace orrery::algorithm
