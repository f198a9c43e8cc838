// Geometric-mean policy optimisation (arXiv 2507.20673): the geometric mean of a sequence's ratios,
// each clipped as PPO's, in log space.
#include <ATen/ATen.h>

#include "orrery/algorithm/surrogate.h"
#include "orrery/base/error.h"

namespace orrery::algorithm {

Surrogate gmpo(const SurrogateInput& input, const SurrogateOptions& options) {
  ORRERY_ASSERT(input.sequences != nullptr, "a mean over sequences needs them");
  const double low = -*options.log_clip_low, high = *options.log_clip_high;
  const at::Tensor& log_ratio = input.log_ratio;
  const at::Tensor bounded = log_ratio.clamp(low, high);
  const at::Tensor is_positive = input.advantages.gt(0);
  const at::Tensor clipped =
      at::where(is_positive, at::minimum(log_ratio, bounded), at::maximum(log_ratio, bounded));

  Surrogate result;
  const at::Tensor mean = input.sequences->spread(input.sequences->means(clipped).exp());
  // Masked: else a garbage advantage would reach the mean, and with it the whole sequence.
  result.loss = -input.advantages * at::where(input.mask, mean, 0.0);
  const at::Tensor fixed = log_ratio.detach();
  result.clipped_low = fixed.lt(low).logical_and_(input.advantages.lt(0)).logical_and_(input.mask);
  result.clipped_high = fixed.gt(high).logical_and_(is_positive).logical_and_(input.mask);
  return result;
}

}  // namespace orrery::algorithm
