// The part of a policy loss that the advantages multiply, one function (and file, in
// src/algorithm/surrogates/) for each kind. Local. Shape letter: A actions.
#pragma once

#include <ATen/core/Tensor.h>

#include "orrery/algorithm/objective_options.h"
#include "orrery/algorithm/sequence_actions.h"

namespace orrery::algorithm {

/// Everything [A]; where the mask is false the numbers mean nothing, except that ratio and
/// log_ratio are 0 there.
struct SurrogateInput {
  at::Tensor log_probs = {};    ///< differentiable
  at::Tensor denominator = {};  ///< log-probabilities of the policy that the ratio is to
  at::Tensor log_ratio = {};    ///< of each action alone, differentiable
  at::Tensor ratio = {};        ///< at the level of the options, differentiable
  at::Tensor advantages = {};
  at::Tensor mask = {};                        ///< bool
  const SequenceActions* sequences = nullptr;  ///< gmpo
};

/// All [A]. Undefined masks: the kind has no such bound.
struct Surrogate {
  at::Tensor loss = {};         ///< differentiable; means nothing where masked
  at::Tensor clipped_low = {};  ///< bool: the lower bound took effect, at valid actions
  at::Tensor clipped_high = {};
  at::Tensor clipped_dual = {};
};

Surrogate ppo_clip(const SurrogateInput& input, const SurrogateOptions& options);
Surrogate cispo(const SurrogateInput& input, const SurrogateOptions& options);
Surrogate sapo(const SurrogateInput& input, const SurrogateOptions& options);
Surrogate gmpo(const SurrogateInput& input, const SurrogateOptions& options);
Surrogate reinforce(const SurrogateInput& input);
Surrogate importance_sampling(const SurrogateInput& input);
Surrogate dppo(const SurrogateInput& input, const SurrogateOptions& options);

/// That of options.kind. The options have passed check().
Surrogate surrogate_of(const SurrogateInput& input, const SurrogateOptions& options);

}  // namespace orrery::algorithm
