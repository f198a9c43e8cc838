#include "orrery/algorithm/proximal_policy.h"

#include <ATen/ATen.h>

#include "orrery/algorithm/advantages.h"  // bounded
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

at::Tensor current_weights(const at::Tensor& versions, const ProximalOptions& options) {
  const at::Tensor age = (*options.current_version - versions.to(at::kLong)).to(at::kDouble);
  if (age.numel() > 0 && age.min().item<double>() < 0) {
    throw CallError(
        "versions of the weights that generated",
        {.expected = base::concat("at most the current one, ", *options.current_version),
         .got = base::concat(versions.max().item<int64_t>()),
         .advice = {}});
  }
  const double fresh = options.fresh_token == FreshToken::kCurrent ? 1 : 0;
  return at::where(age.gt(0), (age - 1) / age.clamp_min(1), fresh);
}

at::Tensor interpolated_log_probs(const at::Tensor& log_probs, const at::Tensor& old_log_probs,
                                  const at::Tensor& current_weights) {
  const at::Tensor difference = log_probs.detach() - old_log_probs;
  return old_log_probs + current_weights.to(difference.scalar_type()) * difference;
}

BehaviourWeight behaviour_weight(const at::Tensor& proximal_log_probs,
                                 const at::Tensor& old_log_probs, const at::Tensor& mask,
                                 const ProximalOptions& options, double log_ratio_limit) {
  const at::Tensor kl = (proximal_log_probs - old_log_probs).detach();
  const at::Tensor weight = kl.exp();
  BehaviourWeight result;
  result.kept = options.weight_cap ? weight.le(*options.weight_cap).logical_and(mask) : mask;
  result.log_ratio = at::where(result.kept, kl, 0.0);
  result.weight = at::where(result.kept, weight, 0.0);
  const at::Tensor limited = bounded(result.log_ratio, log_ratio_limit);
  result.bounded = limited.ne(result.log_ratio);
  result.factor = at::where(result.kept, limited.exp(), 0.0);
  return result;
}

}  // namespace orrery::algorithm
