// Learning from single answers that somebody called good or bad (Ethayarajh et al. 2024, KTO).
// Pure and local. Shape letter: N answers.
//
// With h = log_probs - ref_log_probs, and the reference point z0 = max(0, mean over mismatched
// prompts and answers of the same difference), which has no gradient, an answer costs
//   desirable    desirable_weight (1 - sigmoid(beta (h - z0)))
//   undesirable  undesirable_weight (1 - sigmoid(beta (z0 - h)))
#pragma once

#include <ATen/core/Tensor.h>

#include "orrery/algorithm/loss_inputs.h"
#include "orrery/parallel/train_engine.h"  // LossResult

namespace orrery::algorithm {

struct KtoOptions {
  double beta = 0.1;
  double desirable_weight = 1;
  double undesirable_weight = 1;
  NonfiniteInput nonfinite = NonfiniteInput::kRefuse;
};

struct KtoInput {
  at::Tensor log_probs;      ///< [N] summed over the answer, differentiable
  at::Tensor ref_log_probs;  ///< [N] of the reference
  at::Tensor is_desirable;   ///< [N] bool
  double reference_point = 0;
};

struct KtoLosses {
  at::Tensor per_sequence;      ///< [N] differentiable
  parallel::LossResult result;  ///< loss_sum: over the answers
};

/// What the reference point is made of; sums, so that ranks can add theirs up.
struct KlSample {
  double sum = 0;    ///< of log_probs - ref_log_probs
  double count = 0;  ///< of mismatched pairs

  double reference_point() const;
};

/// Of the mismatched pairs [M]; both undefined: no sample. Throws ShapeError when the sizes
/// disagree or one is missing, CallError for numbers that are not finite (kRefuse).
KlSample kl_sample(const at::Tensor& log_probs, const at::Tensor& ref_log_probs,
                   NonfiniteInput nonfinite);

/// Statistics: reward of either kind (beta times the log-ratio) as desirable_reward and
/// undesirable_reward, accuracy (how often a desirable answer's log-ratio is above the reference
/// point and an undesirable one's below), kl_reference_point. Throws ConfigError for options
/// out of range, ShapeError when sizes disagree, CallError for numbers that are not finite.
KtoLosses kto_loss(const KtoInput& input, const KtoOptions& options);

}  // namespace orrery::algorithm
