#include "orrery/algorithm/policy_objective.h"

#include <ATen/ATen.h>

#include <numeric>
#include <optional>
#include <utility>

#include "orrery/algorithm/advantages.h"  // bounded
#include "orrery/algorithm/aggregation.h"
#include "orrery/algorithm/kl_estimate.h"
#include "orrery/algorithm/proximal_policy.h"
#include "orrery/algorithm/sequence_actions.h"
#include "orrery/algorithm/surrogate.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

void check_sizes(const ObjectiveInput& input) {
  const int64_t n = std::accumulate(input.lengths.begin(), input.lengths.end(), int64_t{0});
  for (const auto& [name, tensor] : {std::pair{"log_probs", input.log_probs},
                                     {"old_log_probs", input.old_log_probs},
                                     {"proximal_log_probs", input.proximal_log_probs},
                                     {"ref_log_probs", input.ref_log_probs},
                                     {"advantages", input.advantages},
                                     {"entropies", input.entropies},
                                     {"high_entropy", input.high_entropy},
                                     {"rollout_weights", input.rollout_weights},
                                     {"versions", input.versions},
                                     {"mask", input.mask}}) {
    if (!tensor.defined() || tensor.numel() == n) continue;
    throw ShapeError("policy loss: inputs differ in size",
                     {.expected = base::concat(n, " actions everywhere"),
                      .got = base::concat(tensor.numel(), " of ", name),
                      .advice = {}});
  }
}

void need(const at::Tensor& tensor, const char* option, const char* name) {
  if (tensor.defined()) return;
  throw ConfigError(option, {.expected = base::concat("the input ", name, ", which it needs"),
                             .got = "none",
                             .advice = {}});
}

void check_inputs(const ObjectiveInput& input, const ObjectiveOptions& options) {
  check_sizes(input);
  for (const auto& [name, tensor] : {std::pair{"log_probs", input.log_probs},
                                     {"old_log_probs", input.old_log_probs},
                                     {"advantages", input.advantages},
                                     {"mask", input.mask}}) {
    need(tensor, "policy loss", name);
  }
  if (options.kl.coefficient != 0) need(input.ref_log_probs, "KL term", "ref_log_probs");
  if (options.entropy.coefficient != 0) need(input.entropies, "entropy bonus", "entropies");
  if (options.entropy.top_fraction) {
    need(input.high_entropy, "high-entropy tokens", "high_entropy");
  }
  if (options.proximal.kind == Proximal::kGiven) {
    need(input.proximal_log_probs, "given proximal policy", "proximal_log_probs");
  }
  if (options.proximal.kind == Proximal::kInterpolated) {
    need(input.versions, "interpolated proximal policy", "versions");
  }
  // Who states both wants them to fit, whatever else is computed.
  if (input.versions.defined() && options.proximal.current_version) {
    current_weights(input.versions, options.proximal);
  }
}

bool needs_sequences(const ObjectiveOptions& options) {
  return options.surrogate.ratio_level != RatioLevel::kToken ||
         options.surrogate.kind == SurrogateKind::kGmpo || options.off_policy_mask_threshold;
}

/// The ratio at the level of the options, differentiable, 0 where masked.
at::Tensor ratio_of(const at::Tensor& log_ratio, const at::Tensor& mask, RatioLevel level,
                    const SequenceActions* sequences, double limit) {
  if (level == RatioLevel::kToken) return at::where(mask, bounded(log_ratio, limit).exp(), 0.0);
  const at::Tensor value = sequences->spread(bounded(sequences->means(log_ratio), limit).exp());
  if (level == RatioLevel::kSequence) return at::where(mask, value, 0.0);
  return at::where(mask, value.detach() * (log_ratio - log_ratio.detach()).exp(), 0.0);
}

at::Tensor weighted_sum(const at::Tensor& per_action, const at::Tensor& weights,
                        const at::Tensor& mask) {
  const at::Tensor masked = at::where(mask, per_action, 0.0);
  return weights.defined() ? (masked * weights.to(masked.scalar_type())).sum() : masked.sum();
}

at::Tensor or_nowhere(const at::Tensor& mask, const at::Tensor& like) {
  return mask.defined() ? mask : at::zeros_like(like, at::kBool);
}

/// One computation, step by step.
class Computation {
 public:
  Computation(const ObjectiveInput& input, const ObjectiveOptions& options)
      : input_(input), options_(options) {
    if (needs_sequences(options)) sequences_.emplace(input.lengths, input.mask);
    weights_ = action_weights(input.lengths, input.mask, options.aggregation);
  }

  PolicyLoss run(const MinibatchTotals& totals) {
    choose_denominator();
    compute_surrogate();
    apply_factors();
    result_.policy_sum = weighted_sum(result_.loss, weights_, input_.mask);
    result_.loss_sum = result_.policy_sum;
    if (options_.kl.coefficient != 0) add_kl();
    if (options_.entropy.coefficient != 0) add_entropy(totals);
    return std::move(result_);
  }

 private:
  void choose_denominator() {
    const ProximalOptions& proximal = options_.proximal;
    denominator_ = input_.old_log_probs;
    if (proximal.kind == Proximal::kGiven) denominator_ = input_.proximal_log_probs;
    if (proximal.kind == Proximal::kInterpolated) {
      result_.current_weight = current_weights(input_.versions, proximal);
      denominator_ =
          interpolated_log_probs(input_.log_probs, input_.old_log_probs, result_.current_weight);
    }
    if (proximal.kind != Proximal::kNone) result_.proximal_log_probs = denominator_;
  }

  void compute_surrogate() {
    const at::Tensor difference = input_.log_probs - denominator_;
    // Masked inside and outside: exp of what is masked may be infinite, and 0 times that is NaN in
    // the gradient.
    log_ratio_ = at::where(input_.mask, difference, 0.0);
    const double limit = options_.log_ratio_limit;
    const SurrogateOptions& surrogate = options_.surrogate;
    const SequenceActions* sequences = sequences_ ? &*sequences_ : nullptr;
    const Surrogate computed = surrogate_of(
        {.log_probs = input_.log_probs,
         .denominator = denominator_,
         .log_ratio = bounded(log_ratio_, limit),
         .ratio = ratio_of(log_ratio_, input_.mask, surrogate.ratio_level, sequences, limit),
         .advantages = input_.advantages,
         .mask = input_.mask,
         .sequences = sequences},
        surrogate);
    result_.loss = computed.loss;
    result_.clipped_low = or_nowhere(computed.clipped_low, input_.mask);
    result_.clipped_high = or_nowhere(computed.clipped_high, input_.mask);
    result_.clipped_dual = or_nowhere(computed.clipped_dual, input_.mask);
    const at::Tensor fixed = log_ratio_.detach();
    result_.bounded_mask = bounded(fixed, limit).ne(fixed);
    result_.log_ratio = difference.detach();
    result_.ratio = ratio_of(fixed, input_.mask, surrogate.ratio_level, sequences, 0);
  }

  void apply_factors() {
    if (options_.off_policy_mask_threshold) {
      const at::Tensor drift =
          sequences_->means((input_.old_log_probs - input_.log_probs).detach());
      const at::Tensor is_dropped = sequences_->spread(drift)
                                        .gt(*options_.off_policy_mask_threshold)
                                        .logical_and_(input_.advantages.lt(0));
      result_.loss = at::where(is_dropped, 0.0, result_.loss);
    }
    if (options_.entropy.top_fraction) {
      result_.loss = at::where(input_.high_entropy, result_.loss, 0.0);
    }
    if (options_.proximal.kind != Proximal::kNone) {
      const BehaviourWeight weight =
          behaviour_weight(denominator_, input_.old_log_probs, input_.mask, options_.proximal,
                           options_.log_ratio_limit);
      result_.behaviour_weight = weight.weight;
      result_.behaviour_log_ratio = weight.log_ratio;
      result_.behaviour_mask = weight.kept;
      result_.bounded_mask = result_.bounded_mask.logical_or(weight.bounded);
      result_.loss = result_.loss * weight.factor;
    }
    if (input_.rollout_weights.defined()) {
      const at::Tensor weights = at::where(input_.mask, input_.rollout_weights, 0.0);
      result_.loss = result_.loss * weights.to(result_.loss.scalar_type());
    }
  }

  void add_kl() {
    const at::Tensor kl = kl_loss(options_.kl, input_.log_probs, input_.ref_log_probs, log_ratio_,
                                  input_.mask, options_.log_ratio_limit);
    result_.kl = kl.detach();
    result_.kl_sum = weighted_sum(kl, weights_, input_.mask);
    result_.loss_sum = result_.loss_sum + options_.kl.coefficient * result_.kl_sum;
  }

  void add_entropy(const MinibatchTotals& totals) {
    const EntropyOptions& entropy = options_.entropy;
    const at::Tensor counted = entropy.top_fraction ? input_.high_entropy : input_.mask;
    const bool is_as_loss = entropy.aggregation == EntropyAggregation::kSameAsLoss;
    result_.entropy_sum =
        weighted_sum(input_.entropies, is_as_loss ? weights_ : at::Tensor(), counted);
    const double factor = totals.entropy_weight > 0 ? totals.weight / totals.entropy_weight : 0;
    result_.loss_sum = result_.loss_sum - entropy.coefficient * factor * result_.entropy_sum;
  }

  const ObjectiveInput& input_;
  const ObjectiveOptions& options_;
  std::optional<SequenceActions> sequences_;
  at::Tensor weights_;      // [A] of the aggregation; undefined: 1
  at::Tensor denominator_;  // [A] no gradient
  at::Tensor log_ratio_;    // [A] of tokens, 0 where masked
  PolicyLoss result_;
};

}  // namespace

MinibatchTotals totals_of(const std::vector<int32_t>& lengths, const at::Tensor& mask,
                          const at::Tensor& high_entropy, const ObjectiveOptions& options) {
  MinibatchTotals totals;
  totals.weight = aggregation_weight(lengths, mask, options.aggregation);
  totals.entropy_weight = totals.weight;
  if (options.entropy.aggregation == EntropyAggregation::kTokenMean) {
    const at::Tensor& counted = options.entropy.top_fraction ? high_entropy : mask;
    totals.entropy_weight = counted.sum().item<double>();
  }
  return totals;
}

bool is_of_single_actions(const ObjectiveOptions& options) {
  return !needs_sequences(options) && options.aggregation.kind != Aggregation::kSeqMeanTokenMean &&
         options.proximal.kind != Proximal::kInterpolated;
}

MinibatchTotals summed_over(const MinibatchTotals& own, comm::Communicator* ranks) {
  if (ranks == nullptr || ranks->size() == 1) return own;
  at::Tensor sums = at::tensor({own.weight, own.entropy_weight}, at::kDouble);
  ranks->all_reduce(sums, comm::ReduceOp::kSum);
  return {.weight = sums.const_data_ptr<double>()[0],
          .entropy_weight = sums.const_data_ptr<double>()[1]};
}

PolicyLoss policy_objective(const ObjectiveInput& input, const ObjectiveOptions& options,
                            const MinibatchTotals& totals) {
  check(options);
  check_inputs(input, options);
  return Computation(input, options).run(totals);
}

}  // namespace orrery::algorithm
