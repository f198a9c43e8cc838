#include "orrery/algorithm/pair_losses.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "orrery/algorithm/masked_statistics.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

struct Pairs {
  at::Tensor chosen;    // [N / 2]
  at::Tensor rejected;  // [N / 2]

  at::Tensor difference() const { return chosen - rejected; }
};

Pairs pairs_of(const at::Tensor& per_sequence) {
  const at::Tensor table = per_sequence.view({per_sequence.numel() / 2, 2});
  return {table.select(1, 0), table.select(1, 1)};
}

[[noreturn]] void unknown(const char* what, const char* known, std::string_view name) {
  throw ConfigError(what, {.expected = known, .got = std::string(name), .advice = {}});
}

void refuse_option(bool is_bad, const char* what, const char* expected, double got) {
  if (!is_bad) return;
  throw ConfigError(what, {.expected = expected, .got = base::concat(got), .advice = {}});
}

bool divides_by_lengths(const PairLossOptions& options) {
  return options.length_normalization == LengthNormalization::kMean ||
         (options.nll_coef != 0 && options.nll_reduction == NllReduction::kSequenceMean);
}

void check_lengths(const std::vector<int32_t>& lengths, int32_t least) {
  const auto bad =
      std::find_if(lengths.begin(), lengths.end(), [&](int32_t n) { return n < least; });
  if (bad == lengths.end()) return;
  throw CallError("an answer of a pair", {.expected = base::concat(least, " or more tokens"),
                                          .got = base::concat(*bad),
                                          .advice = "leave out answers without a token"});
}

void check_input(const PairInput& input, const PairLossOptions& options) {
  const int64_t n = input.log_probs.numel();
  if (n % 2 != 0) {
    throw ShapeError(
        "sequences do not form pairs",
        {.expected = "chosen, rejected, chosen, ...", .got = base::concat(n), .advice = {}});
  }
  const bool with_reference = has_reference(options.objective);
  if (with_reference) check_size("ref_log_probs of a pair", input.ref_log_probs, n);
  if (static_cast<int64_t>(input.lengths.size()) != n) {
    throw ShapeError(
        "lengths of answers",
        {.expected = base::concat(n), .got = base::concat(input.lengths.size()), .advice = {}});
  }
  check_lengths(input.lengths, divides_by_lengths(options) ? 1 : 0);
  if (options.nonfinite == NonfiniteInput::kPassOn) return;
  refuse_nonfinite("log_probs of a pair", input.log_probs);
  if (with_reference) refuse_nonfinite("ref_log_probs of a pair", input.ref_log_probs);
}

/// a - log(1 - exp(a)) of the mean log-probabilities a.
at::Tensor log_odds(const at::Tensor& mean_log_probs, NonfiniteInput nonfinite) {
  if (nonfinite == NonfiniteInput::kRefuse && mean_log_probs.ge(0).any().item<bool>()) {
    throw CallError("odds of an answer", {.expected = "a mean log-probability below 0",
                                          .got = "one of 0 or more",
                                          .advice = "a certain answer has no finite odds"});
  }
  return mean_log_probs - at::log(-at::expm1(mean_log_probs));
}

/// -(1 - e) log sigmoid(x) - e log sigmoid(-x)
at::Tensor smoothed(const at::Tensor& x, double e) {
  if (e == 0) return -at::log_sigmoid(x);
  return -(1 - e) * at::log_sigmoid(x) - e * at::log_sigmoid(-x);
}

/// `difference`: of h, or of the log-odds.
at::Tensor per_pair(const at::Tensor& difference, const PairLossOptions& options) {
  const double beta = options.beta, e = options.label_smoothing;
  switch (options.objective) {
    case PairObjective::kDpo:
    case PairObjective::kCpo:
      return smoothed(beta * difference, e);
    case PairObjective::kSimpo:
      return smoothed(beta * difference - options.gamma, e);
    case PairObjective::kRobustDpo: {
      const at::Tensor x = beta * difference;
      return (-(1 - e) * at::log_sigmoid(x) + e * at::log_sigmoid(-x)) / (1 - 2 * e);
    }
    case PairObjective::kIpo:
      return (difference - 1 / (2 * beta)).square();
    case PairObjective::kHinge: {
      const at::Tensor margin = 1 - beta * difference;
      return at::maximum(margin, at::zeros_like(margin));
    }
    case PairObjective::kOrpo:
      return -beta * at::log_sigmoid(difference);
  }
  return difference;
}

at::Tensor share_of_nll(const at::Tensor& chosen, const at::Tensor& chosen_lengths,
                        const PairLossOptions& options, const PairCounts& counts) {
  if (options.nll_reduction == NllReduction::kSequenceMean) {
    return -(chosen / chosen_lengths).sum() / std::max(counts.pairs, 1.0);
  }
  return -chosen.sum() / std::max(counts.chosen_tokens, 1.0);
}

void record(PairLosses& losses, const PairInput& input, const at::Tensor& log_ratios,
            const PairLossOptions& options, const PairCounts& counts) {
  metrics::Statistics& statistics = losses.result.statistics;
  const at::Tensor everywhere;
  const auto n = static_cast<double>(losses.chosen_rewards.numel());
  const at::Tensor margin = losses.chosen_rewards - losses.rejected_rewards;
  statistics.mean("accuracy", margin.gt(0).sum().item<double>(), n);
  statistics.sum("n_pairs", n);
  record_spread(statistics, "chosen_reward", losses.chosen_rewards, everywhere);
  record_spread(statistics, "rejected_reward", losses.rejected_rewards, everywhere);
  statistics.mean("reward_margin", margin.to(at::kDouble).sum().item<double>(), n);
  if (has_reference(options.objective)) {
    statistics.mean("ref_kl", -log_ratios.sum().item<double>(),
                    static_cast<double>(log_ratios.numel()));
  }
  if (options.nll_coef != 0) {
    const PairCounts own = PairCounts::of(input);
    const bool is_by_token = options.nll_reduction == NllReduction::kTokenMean;
    const double share = is_by_token ? own.chosen_tokens : own.pairs;
    const double whole = is_by_token ? counts.chosen_tokens : counts.pairs;
    statistics.mean("chosen_nll", losses.chosen_nll.item<double>() * whole, share);
  }
  if (losses.log_odds_ratios.defined()) {
    statistics.mean("log_odds_ratio",
                    losses.log_odds_ratios.detach().to(at::kDouble).sum().item<double>(), n);
  }
}

}  // namespace

PairObjective pair_objective_named(std::string_view name) {
  if (name == "dpo") return PairObjective::kDpo;
  if (name == "robust_dpo") return PairObjective::kRobustDpo;
  if (name == "ipo") return PairObjective::kIpo;
  if (name == "hinge") return PairObjective::kHinge;
  if (name == "simpo") return PairObjective::kSimpo;
  if (name == "cpo") return PairObjective::kCpo;
  if (name == "orpo") return PairObjective::kOrpo;
  unknown("loss of pairs", "dpo, robust_dpo, ipo, hinge, simpo, cpo or orpo", name);
}

LengthNormalization length_normalization_named(std::string_view name) {
  if (name == "none") return LengthNormalization::kNone;
  if (name == "mean") return LengthNormalization::kMean;
  unknown("length_normalization", "none or mean", name);
}

NllReduction nll_reduction_named(std::string_view name) {
  if (name == "token_mean") return NllReduction::kTokenMean;
  if (name == "sequence_mean") return NllReduction::kSequenceMean;
  unknown("nll_reduction", "token_mean or sequence_mean", name);
}

bool has_reference(PairObjective objective) {
  return objective != PairObjective::kSimpo && objective != PairObjective::kCpo &&
         objective != PairObjective::kOrpo;
}

bool takes_label_smoothing(PairObjective objective) {
  return objective == PairObjective::kDpo || objective == PairObjective::kRobustDpo ||
         objective == PairObjective::kSimpo || objective == PairObjective::kCpo;
}

bool is_per_token(PairObjective objective) {
  return objective == PairObjective::kSimpo || objective == PairObjective::kOrpo;
}

void check_options(const PairLossOptions& options) {
  const double e = options.label_smoothing;
  check_positive("beta", options.beta);
  check_option("label_smoothing", e, 0, 1);
  refuse_option(options.objective == PairObjective::kRobustDpo && e >= 0.5,
                "label_smoothing of robust_dpo", "below 0.5: more right labels than wrong ones", e);
  refuse_option(!takes_label_smoothing(options.objective) && e != 0,
                "label_smoothing of a loss that has none", "0", e);
  refuse_option(!std::isfinite(options.gamma) || options.gamma < 0, "gamma", "0 or more",
                options.gamma);
  refuse_option(options.objective != PairObjective::kSimpo && options.gamma != 0,
                "gamma of another loss than simpo", "0", options.gamma);
  refuse_option(!std::isfinite(options.nll_coef) || options.nll_coef < 0, "nll_coef", "0 or more",
                options.nll_coef);
  if (is_per_token(options.objective) &&
      options.length_normalization != LengthNormalization::kMean) {
    throw ConfigError("length_normalization of simpo or orpo",
                      {.expected = "mean", .got = "none", .advice = "both are about a mean token"});
  }
}

PairCounts PairCounts::of(const PairInput& input) {
  PairCounts counts;
  for (size_t i = 0; i + 1 < input.lengths.size(); i += 2) {
    counts.pairs += 1;
    counts.chosen_tokens += input.lengths[i];
  }
  return counts;
}

PairLosses pair_losses(const PairInput& input, const PairLossOptions& options,
                       const PairCounts& counts) {
  check_options(options);
  check_input(input, options);
  const at::Tensor lengths =
      at::tensor(input.lengths, input.log_probs.options().requires_grad(false));
  const bool with_reference = has_reference(options.objective);
  const bool is_mean = options.length_normalization == LengthNormalization::kMean;
  const at::Tensor log_ratios =
      with_reference ? input.log_probs - input.ref_log_probs : input.log_probs;
  const at::Tensor h = is_mean ? log_ratios / lengths : log_ratios;

  PairLosses losses;
  at::Tensor difference;
  if (options.objective == PairObjective::kOrpo) {
    difference = pairs_of(log_odds(h, options.nonfinite)).difference();
    losses.log_odds_ratios = difference;
  } else {
    difference = pairs_of(h).difference();
  }
  losses.per_pair = per_pair(difference, options);
  losses.result.loss_sum = losses.per_pair.sum();
  if (options.nll_coef != 0) {
    losses.chosen_nll =
        share_of_nll(pairs_of(input.log_probs).chosen, pairs_of(lengths).chosen, options, counts);
    losses.result.loss_sum =
        losses.result.loss_sum + options.nll_coef * counts.pairs * losses.chosen_nll;
  }

  const Pairs rewards =
      pairs_of(options.beta * (is_per_token(options.objective) ? h : log_ratios).detach());
  losses.chosen_rewards = rewards.chosen;
  losses.rejected_rewards = rewards.rejected;
  record(losses, input, log_ratios.detach(), options, counts);
  return losses;
}

}  // namespace orrery::algorithm
