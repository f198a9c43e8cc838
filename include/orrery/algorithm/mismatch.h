// How far the log-probabilities that generation recorded are from what training computes, and how
// far the distribution drawn from is from the policy. Local. Shape letter: A actions.
#pragma once

#include <ATen/core/Tensor.h>

#include "orrery/metrics/statistics.h"

namespace orrery::algorithm {

/// With d = trained - generated at the actions of the mask: mismatch/abs_mean and mismatch/abs_max
/// of |d|, mismatch/k1 = mean(-d) and mismatch/k3 = mean(exp(d) - 1 - d), two estimates of the KL
/// divergence of the generator's policy from the engine's (Schulman). Nothing without an action.
///   all [A]
void record_mismatch(metrics::Statistics& statistics, const at::Tensor& trained,
                     const at::Tensor& generated, const at::Tensor& mask);

/// min(cap, exp(policy - drawn)): the truncated importance weight (Ionides 2008; of language
/// models, Yao et al. 2025) of a token that was drawn from another distribution than the policy's.
/// Filters and masked tokens only raise the probability of what they leave: the weight is the
/// probability that they left, at most 1.
///   [A], in double
at::Tensor sampling_weight(const at::Tensor& policy_log_probs, const at::Tensor& drawn_log_probs,
                           double cap);

}  // namespace orrery::algorithm
