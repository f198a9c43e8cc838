// MiniMax-M1 (arXiv 2506.13585): REINFORCE whose importance weight is clipped and has no gradient,
// so that an action beyond the range still teaches.
#include <ATen/ATen.h>

#include "orrery/algorithm/surrogate.h"

namespace orrery::algorithm {

Surrogate cispo(const SurrogateInput& input, const SurrogateOptions& options) {
  const at::Tensor ratio = input.ratio.detach();
  const double high = 1 + *options.eps_high;
  at::Tensor weight = ratio.clamp_max(high);

  Surrogate result;
  result.clipped_high = ratio.gt(high).logical_and_(input.mask);
  if (options.eps_low) {
    const double low = 1 - *options.eps_low;
    weight = weight.clamp_min(low);
    result.clipped_low = ratio.lt(low).logical_and_(input.mask);
  }
  result.loss = -(weight * input.advantages) * at::where(input.mask, input.log_probs, 0.0);
  return result;
}

}  // namespace orrery::algorithm
