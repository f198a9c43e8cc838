// KL divergence from a reference policy, estimated at each action from its log-probability alone
// (Schulman 2020: k1, k2, k3). Local. Shape letter: A actions.
#pragma once

#include <ATen/core/Tensor.h>

#include "orrery/algorithm/objective_options.h"

namespace orrery::algorithm {

/// x = log_probs - ref_log_probs; k1: x, k2: x^2 / 2, k3: exp(-x) - 1 + x (never negative).
///   all [A]; differentiable in log_probs; 0 where masked
///   log_ratio_limit  x is within +- this and the result at most 10; 0: no limit
at::Tensor kl_estimate(KlEstimator estimator, const at::Tensor& log_probs,
                       const at::Tensor& ref_log_probs, const at::Tensor& mask,
                       double log_ratio_limit = 0);

/// The same with the gradient that the options name; `log_ratio` [A], that of the action to the
/// policy that generated (differentiable, 0 where masked), for importance_weighted.
at::Tensor kl_loss(const KlLossOptions& options, const at::Tensor& log_probs,
                   const at::Tensor& ref_log_probs, const at::Tensor& log_ratio,
                   const at::Tensor& mask, double log_ratio_limit = 0);

}  // namespace orrery::algorithm
