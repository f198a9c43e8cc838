// The policy that the ratio is to, where it is not the one that generated (decoupled PPO, Hilton et
// al. 2022; A-3PO, arXiv 2512.06547), and what the loss is multiplied by for that. Local. Shape
// letter: A actions.
#pragma once

#include <ATen/core/Tensor.h>

#include "orrery/algorithm/objective_options.h"

namespace orrery::algorithm {

/// [A] fp64: the weight w of the current policy in an interpolated one, (d - 1) / d for an action
/// that is d versions old; for d = 0 that of the options. Throws CallError for a version above the
/// current one at any action.
///   versions [A] int64
at::Tensor current_weights(const at::Tensor& versions, const ProximalOptions& options);

/// [A], without a gradient: old + w (log_probs - old).
at::Tensor interpolated_log_probs(const at::Tensor& log_probs, const at::Tensor& old_log_probs,
                                  const at::Tensor& current_weights);

/// All [A], without a gradient.
struct BehaviourWeight {
  at::Tensor factor;     ///< of the loss: exp of the bounded log-ratio, 0 where masked or dropped
  at::Tensor weight;     ///< exp(proximal - old), likewise
  at::Tensor log_ratio;  ///< proximal - old, likewise
  at::Tensor kept;       ///< bool: valid, and not above the cap
  at::Tensor bounded;    ///< bool: the log-ratio was beyond the limit
};

BehaviourWeight behaviour_weight(const at::Tensor& proximal_log_probs,
                                 const at::Tensor& old_log_probs, const at::Tensor& mask,
                                 const ProximalOptions& options, double log_ratio_limit);

}  // namespace orrery::algorithm
