#include "orrery/algorithm/kl_estimate.h"

#include <ATen/ATen.h>

#include "orrery/algorithm/advantages.h"  // bounded

namespace orrery::algorithm {

namespace {

/// Largest KL term of one token where log-ratios are limited.
constexpr double kLargestKl = 10;

at::Tensor estimate_of(KlEstimator estimator, const at::Tensor& to_reference) {
  switch (estimator) {
    case KlEstimator::kK1:
      return -to_reference;
    case KlEstimator::kK2:
      return to_reference.square() / 2;
    case KlEstimator::kK3:
      break;
  }
  return to_reference.exp() - to_reference - 1;
}

}  // namespace

at::Tensor kl_estimate(KlEstimator estimator, const at::Tensor& log_probs,
                       const at::Tensor& ref_log_probs, const at::Tensor& mask,
                       double log_ratio_limit) {
  const at::Tensor to_reference =
      bounded(at::where(mask, ref_log_probs - log_probs, 0.0), log_ratio_limit);
  const at::Tensor kl = estimate_of(estimator, to_reference);
  return log_ratio_limit > 0 ? kl.clamp_max(kLargestKl) : kl;
}

at::Tensor kl_loss(const KlLossOptions& options, const at::Tensor& log_probs,
                   const at::Tensor& ref_log_probs, const at::Tensor& log_ratio,
                   const at::Tensor& mask, double log_ratio_limit) {
  const auto estimate = [&](KlEstimator estimator) {
    return kl_estimate(estimator, log_probs, ref_log_probs, mask, log_ratio_limit);
  };
  const at::Tensor kl = estimate(options.estimator);
  switch (options.gradient) {
    case KlGradient::kDirect:
      break;
    case KlGradient::kStraightThroughK2: {
      const at::Tensor k2 = estimate(KlEstimator::kK2);
      return k2 + (kl - k2).detach();
    }
    case KlGradient::kImportanceWeighted:
      return kl * bounded(log_ratio, log_ratio_limit).exp();
  }
  return kl;
}

}  // namespace orrery::algorithm
