// The steps from what was generated and how it was rewarded to what the policy loss needs: masks,
// rewards per action, advantages, their normalisation. Pure functions over one data rank's samples;
// only the normalisation over all ranks talks to others. policy_batch.h puts them together.
// Shape letters: N sequences, T packed tokens, A = T - N actions (entry t of a sequence belongs to
// predicting token t + 1 from token t).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "orrery/comm/communicator.h"
#include "orrery/data/nested_lengths.h"

namespace orrery::algorithm {

/// [N] lengths of packed sequences -> the actions' mask: tokens that are not prompt, each
/// sequence's first entry dropped.
///   prompt_mask  [T] bool, true on prompt tokens
///   returns      [A] bool
at::Tensor action_mask(const at::Tensor& prompt_mask, const std::vector<int32_t>& lengths);

/// [N] per sequence -> [A] per action.
at::Tensor per_action(const at::Tensor& per_sequence, const std::vector<int32_t>& lengths);

struct RewardInput {
  at::Tensor log_probs;      ///< [A] fp32, masked
  at::Tensor ref_log_probs;  ///< [A] fp32, masked; undefined: no KL reward
  at::Tensor scores;         ///< [N] fp32
  at::Tensor
      dense_scores;   ///< [T] fp32 score of each token; undefined: `scores` at the last action
  at::Tensor no_eos;  ///< [N] bool, true where the answer was cut by its length
};

struct RewardOptions {
  double kl_coef = 0;
  double clip = 5;                     ///< scores are clipped to [-clip, clip]; 0: not at all
  double log_ratio_limit = 0;          ///< log-ratios of KL rewards are within +- this; 0: none
  bool mask_no_eos_with_zero = false;  ///< cut answers get no score
  bool reward_delta = true;            ///< dense: the change of the score, not the score
};

struct ActionRewards {
  at::Tensor kl_rewards;  ///< [A] -kl_coef * (log_probs - ref_log_probs)
  at::Tensor rewards;     ///< [A] with the scores added
};

/// KL reward of every action plus the clipped score at each sequence's last action.
ActionRewards action_rewards(const RewardInput& input, const RewardOptions& options,
                             const std::vector<int32_t>& lengths);

struct Advantages {
  at::Tensor advantages;  ///< [A]
  at::Tensor returns;     ///< [A]
};

/// Generalised advantage estimation; the last value of a cut sequence counts.
///   rewards [A], values [T], no_eos [N] bool, all of one floating type
Advantages estimate_advantages(const at::Tensor& rewards, const at::Tensor& values,
                               const at::Tensor& no_eos, const std::vector<int32_t>& lengths,
                               double discount, double gae_lambda);

enum class Variance { kPopulation, kUnbiased };

/// x within +- limit; 0: as it is. Differentiable within.
at::Tensor bounded(const at::Tensor& x, double limit);

/// (x - mean) / (std + eps) with moments over the mask, computed in double; masked places hold what
/// a 0 there gives. Equal values give exactly 0, an empty mask gives 0.
///   x [n] floating, mask [n] bool or undefined (all); returns [n] fp32 (fp64 for fp64)
/// With `group` the moments are over all its ranks: collective over it.
at::Tensor masked_normalization(const at::Tensor& x, const at::Tensor& mask,
                                comm::Communicator* group = nullptr,
                                Variance variance = Variance::kPopulation, double eps = 1e-5);

/// The same for the actions of each sample's sequences by themselves.
///   x [A] floating, mask [A] bool, tokens: lengths of the sequences of each sample. Local.
at::Tensor normalize_by_group(const at::Tensor& x, const at::Tensor& mask,
                              const data::NestedLengths& tokens);

}  // namespace orrery::algorithm
