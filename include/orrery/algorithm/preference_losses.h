// Losses of pairs of answers, a better and a worse one to the same prompt. Sequences come in pairs:
// chosen, rejected, chosen, ...; an odd number throws ShapeError. Local. Shape letters: N sequences
// (even), T packed tokens, A = T - N.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "orrery/algorithm/loss_inputs.h"
#include "orrery/data/sequence_batch.h"
#include "orrery/metrics/statistics.h"
#include "orrery/parallel/train_engine.h"  // LossResult

namespace orrery::algorithm {

/// Throws CallError naming a sample whose packed_input_ids are not pairs.
void check_pairs(const data::SequenceBatch& batch);

/// [A] -> [N]: the sum over the actions of each sequence where `mask` [A] is true. Differentiable.
at::Tensor sums_by_sequence(const at::Tensor& per_action, const at::Tensor& mask,
                            const std::vector<int32_t>& lengths);

/// [T] -> [N]: the entry of each sequence's last token. Differentiable.
at::Tensor last_of_each(const at::Tensor& per_token, const std::vector<int32_t>& lengths);

struct PairwiseInput {
  at::Tensor scores;           ///< [N] differentiable
  std::vector<int32_t> pairs;  ///< of each sample
  at::Tensor margins = {};     ///< [N / 2] how much better the chosen one is; undefined: 0
};

struct PairwiseOptions {
  double centering_coef = 0;
  NonfiniteInput nonfinite = NonfiniteInput::kRefuse;
};

struct PairwiseLoss {
  at::Tensor per_pair;  ///< [N / 2] differentiable, without the centering
  parallel::LossResult result;
};

/// Bradley-Terry (Ouyang et al. 2022, section 3.5): sum over samples of the mean over the sample's
/// pairs of
///   -log sigmoid(chosen - rejected - margin)           margin: Touvron et al. 2023 (Llama 2)
///     + centering_coef (chosen + rejected)^2           Eisenstein et al. 2023
/// Statistics per pair: accuracy, chosen_score, rejected_score with their extremes, score_margin,
/// score. Throws ShapeError when sizes disagree, ConfigError for a negative coefficient, CallError
/// for margins and (NonfiniteInput::kRefuse) scores that are not finite.
PairwiseLoss pairwise_loss(const PairwiseInput& input, const PairwiseOptions& options);

/// preference_accuracy: how often the chosen one of a pair has the larger number. [N]
metrics::Statistics pair_accuracy(const at::Tensor& per_sequence);

}  // namespace orrery::algorithm
