#include "orrery/algorithm/ppo_loss.h"

#include "orrery/algorithm/advantages.h"  // bounded
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

/// Largest KL term of one token where log-ratios are limited.
constexpr double kLargestKl = 10;

void check(const ActorLossInput& input, const ActorLossOptions& options) {
  if (options.c_clip && *options.c_clip <= 1) {
    throw ConfigError("c_clip", {.expected = "above 1",
                                 .got = base::concat(*options.c_clip),
                                 .advice = "leave it 0 for no dual clipping"});
  }
  for (const at::Tensor& other :
       {input.old_log_probs, input.proximal_log_probs, input.advantages, input.mask}) {
    if (other.defined() && other.sizes() != input.log_probs.sizes()) {
      throw ShapeError("actor loss: inputs differ in size",
                       {.expected = base::concat(input.log_probs.numel(), " actions everywhere"),
                        .got = base::concat(other.numel()),
                        .advice = {}});
    }
  }
}

}  // namespace

ActorLoss actor_loss(const ActorLossInput& input, const ActorLossOptions& options) {
  check(input, options);
  const at::Tensor& denominator =
      input.proximal_log_probs.defined() ? input.proximal_log_probs : input.old_log_probs;
  const at::Tensor difference = input.log_probs - denominator;
  // Masked inside and outside: exp of what is masked may be infinite, and 0 times that is NaN in
  // the gradient.
  const at::Tensor log_ratio = at::where(input.mask, difference, 0.0);
  const at::Tensor limited = bounded(log_ratio, options.log_ratio_limit);
  const at::Tensor ratio = at::where(input.mask, limited.exp(), 0.0);
  const at::Tensor plain = -input.advantages * ratio;
  const at::Tensor clipped =
      -input.advantages * ratio.clamp(1 - options.clip_range, 1 + options.clip_range);

  ActorLoss result;
  result.bounded_mask = limited.detach().ne(log_ratio.detach());
  result.loss = at::maximum(plain, clipped);
  result.clip_mask = plain.detach().lt(clipped.detach()).logical_and(input.mask);
  if (options.c_clip) {
    const at::Tensor bound = *options.c_clip * input.advantages.abs();
    result.dual_clip_mask = bound.lt(result.loss.detach()).logical_and(input.mask);
    result.loss = at::minimum(result.loss, bound);
  } else {
    result.dual_clip_mask = at::zeros_like(result.clip_mask);
  }
  if (input.proximal_log_probs.defined()) {
    const at::Tensor kl = (input.proximal_log_probs - input.old_log_probs).detach();
    const at::Tensor weight = kl.exp();  // no gradient goes through it
    result.behaviour_mask = options.behaviour_weight_cap
                                ? weight.le(*options.behaviour_weight_cap).logical_and(input.mask)
                                : input.mask;
    result.behaviour_kl = at::where(result.behaviour_mask, kl, 0.0);
    result.behaviour_weight = at::where(result.behaviour_mask, weight, 0.0);
    const at::Tensor limited_kl = bounded(result.behaviour_kl, options.log_ratio_limit);
    result.bounded_mask = result.bounded_mask.logical_or(limited_kl.ne(result.behaviour_kl));
    result.loss = result.loss * at::where(result.behaviour_mask, limited_kl.exp(), 0.0);
  }
  result.importance_weight = at::where(input.mask, log_ratio.detach().exp(), 0.0);
  result.approx_kl = difference.detach();
  return result;
}

at::Tensor reference_kl(const at::Tensor& log_probs, const at::Tensor& ref_log_probs,
                        const at::Tensor& mask, double log_ratio_limit) {
  const at::Tensor difference =
      bounded(at::where(mask, ref_log_probs - log_probs, 0.0), log_ratio_limit);
  const at::Tensor kl = difference.exp() - difference - 1;
  return log_ratio_limit > 0 ? kl.clamp_max(kLargestKl) : kl;
}

}  // namespace orrery::algorithm
