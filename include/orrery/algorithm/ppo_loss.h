// The clipped policy loss of PPO (Schulman et al. 2017), with dual clipping (Ye et al. 2020) and
// the decoupled objective with proximal log-probabilities (Hilton et al. 2022). Local. Shape
// letter: A actions.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace orrery::algorithm {

struct ActorLossInput {
  at::Tensor log_probs;           ///< [A] of the model being trained, differentiable
  at::Tensor old_log_probs;       ///< [A] at generation
  at::Tensor proximal_log_probs;  ///< [A] before this train step; undefined: old_log_probs serve
  at::Tensor advantages;          ///< [A]
  at::Tensor mask;                ///< [A] bool, true where the token counts
};

struct ActorLossOptions {
  double clip_range = 0.2;
  std::optional<double> c_clip = {};                ///< above 1; none: no dual clipping
  std::optional<double> behaviour_weight_cap = {};  ///< needs proximal_log_probs to have an effect
  double log_ratio_limit = 0;  ///< log-ratios of the loss are within +- this; 0: none
};

/// All [A]; only `loss` is differentiable.
struct ActorLoss {
  at::Tensor loss;               ///< after weighting; not masked
  at::Tensor importance_weight;  ///< exp(log_probs - denominator), 0 where masked
  at::Tensor approx_kl;          ///< log_probs - denominator, not masked
  at::Tensor clip_mask;          ///< bool: clipping made a difference
  at::Tensor dual_clip_mask;     ///< bool
  at::Tensor
      behaviour_weight;     ///< exp(proximal - old), 0 where masked or above the cap; or undefined
  at::Tensor behaviour_kl;  ///< proximal - old, likewise
  at::Tensor behaviour_mask;  ///< bool: kept by the cap; or undefined
  at::Tensor bounded_mask;    ///< bool: a log-ratio was beyond the limit
};

/// Per token: max(-A r, -A clip(r, 1 - eps, 1 + eps)); with c_clip the minimum of that and c |A|;
/// with proximal log-probabilities times exp(proximal - old). Ties of max and min share their
/// gradient. The limit holds for the loss; the other numbers are those without it. Throws
/// ConfigError for c_clip <= 1 and ShapeError for sizes that differ.
ActorLoss actor_loss(const ActorLossInput& input, const ActorLossOptions& options);

/// Divergence from the reference at each action, estimated from the action alone (Schulman, "k3"):
/// exp(ref - log_probs) - (ref - log_probs) - 1. Never negative; its mean is that of the KL.
///   all [A]; differentiable in log_probs; 0 where masked
///   log_ratio_limit  the difference is within +- this and the result at most 10; 0: no limit
at::Tensor reference_kl(const at::Tensor& log_probs, const at::Tensor& ref_log_probs,
                        const at::Tensor& mask, double log_ratio_limit = 0);

}  // namespace orrery::algorithm
