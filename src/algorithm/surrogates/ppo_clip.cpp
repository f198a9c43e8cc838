// Schulman et al. 2017: the smaller of r A and clip(r) A, so that no action gains from a ratio
// beyond the range. Dual clip (Ye et al. 2020): where A < 0 the loss is at most -c A.
#include <ATen/ATen.h>

#include "orrery/algorithm/surrogate.h"

namespace orrery::algorithm {

Surrogate ppo_clip(const SurrogateInput& input, const SurrogateOptions& options) {
  const double low = 1 - *options.eps_low, high = 1 + *options.eps_high;
  const at::Tensor plain = -input.advantages * input.ratio;
  const at::Tensor clipped = -input.advantages * input.ratio.clamp(low, high);

  Surrogate result;
  result.loss = at::maximum(plain, clipped);
  const at::Tensor ratio = input.ratio.detach();
  const at::Tensor negative = input.advantages.lt(0).logical_and_(input.mask);
  const at::Tensor positive = input.advantages.gt(0).logical_and_(input.mask);
  result.clipped_low = ratio.lt(low).logical_and_(negative);
  result.clipped_high = ratio.gt(high).logical_and_(positive);
  if (options.dual_clip) {
    const at::Tensor bound = *options.dual_clip * input.advantages.abs();
    result.loss = at::minimum(result.loss, bound);
    result.clipped_dual = ratio.gt(*options.dual_clip).logical_and_(negative);
  }
  return result;
}

}  // namespace orrery::algorithm
