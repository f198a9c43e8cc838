// Everything that a policy (or critic) update needs of a batch of answers, before normalisation:
// masks, KL rewards, rewards per action, values, advantages, returns. Pure; no model is run.
// Shape letters: N sequences, T packed tokens, A = T - N actions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "orrery/algorithm/advantages.h"
#include "orrery/metrics/statistics.h"

namespace orrery::algorithm {

struct PolicyInput {
  std::vector<int32_t> lengths = {};  ///< [N] tokens of each sequence
  at::Tensor prompt_mask;             ///< [T] bool, true on prompt tokens
  at::Tensor log_probs;               ///< [A] at generation
  at::Tensor ref_log_probs;           ///< [A] of the reference; undefined: no KL reward
  at::Tensor values;                  ///< [T] in the units of rewards; undefined: no value model
  at::Tensor scores;                  ///< [N] rewards of the answers
  at::Tensor dense_scores;            ///< [T] instead of `scores`; undefined: `scores` count
  at::Tensor kept;                    ///< [N] bool, answers that were not left out; undefined: all
  at::Tensor selected;                ///< [N] bool, those of them to learn from; undefined: all
  at::Tensor no_eos;                  ///< [N] bool, true where the answer was cut by its length
};

struct PolicyOptions {
  RewardOptions rewards = {};
  bool mask_too_long = false;  ///< answers that were cut are not learned from
  double discount = 1;
  double gae_lambda = 1;
};

struct PolicyBatch {
  at::Tensor mask;           ///< [A] bool: actions that are learned from
  at::Tensor log_probs;      ///< [A] at generation, 0 where masked
  at::Tensor ref_log_probs;  ///< [A] likewise; undefined without kl_coef
  at::Tensor kl_rewards;     ///< [A]
  at::Tensor rewards;        ///< [A] kl_rewards and scores
  at::Tensor values;         ///< [T] final value of answers that ended: 0
  at::Tensor advantages;     ///< [A] not normalised
  at::Tensor returns;        ///< [A]
};

/// Throws ShapeError when the sizes disagree. Local.
PolicyBatch prepare_policy_batch(const PolicyInput& input, const PolicyOptions& options);

/// values [T] with 0 at the last token of each sequence that ended (no_eos false): nothing follows.
at::Tensor without_final_values(const at::Tensor& values, const at::Tensor& no_eos,
                                const std::vector<int32_t>& lengths);

/// [T] per token -> [A] per action: each sequence's last entry dropped.
at::Tensor without_last(const at::Tensor& per_token, const std::vector<int32_t>& lengths);

/// Over the kept answers: task_reward, seq_len, prompt_len, correct_seq_len and incorrect_seq_len
/// (reward above 0 or not), no_eos_ratio per sequence, each with _min and _max; reward: all rewards
/// of a sequence, KL included; kl_reward over the mask; n_seqs. left_out_answers counts the others.
metrics::Statistics policy_statistics(const PolicyInput& input, const PolicyBatch& batch);

}  // namespace orrery::algorithm
