// Divergence PPO in its binary approximation (arXiv 2602.04879): an action is blocked when its
// probability has moved further than a threshold in the direction that its advantage pushes it.
#include <ATen/ATen.h>

#include "orrery/algorithm/surrogate.h"

namespace orrery::algorithm {

namespace {

/// KL of the two-valued distributions "this action or another". A probability of 1 leaves nothing
/// for the others, whose term is 0 then.
at::Tensor binary_kl(const at::Tensor& before, const at::Tensor& now) {
  const at::Tensor p = before.exp();
  const at::Tensor others_before = -before.expm1(), others_now = -now.expm1();
  return p * (before - now) + at::xlogy(others_before, others_before / others_now);
}

}  // namespace

Surrogate dppo(const SurrogateInput& input, const SurrogateOptions& options) {
  const at::Tensor now = input.log_probs.detach().to(at::kDouble);
  const at::Tensor before = input.denominator.detach().to(at::kDouble);
  const at::Tensor divergence = options.kind == SurrogateKind::kDppoTv
                                    ? (now.exp() - before.exp()).abs()
                                    : binary_kl(before, now);
  const at::Tensor is_far = divergence.gt(*options.divergence_threshold).logical_and_(input.mask);

  Surrogate result;
  result.clipped_high = input.advantages.gt(0).logical_and_(now.gt(before)).logical_and_(is_far);
  result.clipped_low = input.advantages.lt(0).logical_and_(now.lt(before)).logical_and_(is_far);
  const at::Tensor is_blocked = result.clipped_high.logical_or(result.clipped_low);
  result.loss = at::where(is_blocked, 0.0, -input.advantages * input.ratio);
  return result;
}

}  // namespace orrery::algorithm
