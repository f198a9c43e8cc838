// How far the next-token distributions of a student are from those of a teacher, from rows of
// logits whose columns may be one tensor rank's part of the vocabulary. The gradient is in closed
// form, so that nothing but the rows at hand is kept: a caller goes through a batch in chunks.
// Shape letters: C rows, V columns of this rank.
//
// With P the teacher's and Q the student's distribution, logits divided by `temperature`
// (Agarwal et al. 2023, GKD):
//   kForwardKl  KL(P || Q)      gradient by the student's logits x = logits / temperature: Q - P
//   kReverseKl  KL(Q || P)      Q (log Q - log P - KL(Q || P))
//   kJsd        beta KL(P || M) + (1 - beta) KL(Q || M), M = beta P + (1 - beta) Q
//                               (1 - beta) Q (log Q - log M - KL(Q || M))
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

#include "orrery/comm/communicator.h"

namespace orrery::model {

enum class Divergence { kForwardKl, kReverseKl, kJsd };

/// forward_kl, reverse_kl, jsd. Throws ConfigError for another name.
Divergence divergence_named(std::string_view name);

/// What is done about logits that are NaN or infinite.
enum class NonfiniteLogits {
  kRefuse,  ///< CallError
  kPassOn,  ///< they give a divergence that is not finite, for the optimizer step to judge
};

struct DivergenceOptions {
  Divergence divergence = Divergence::kReverseKl;
  double beta = 0.5;  ///< kJsd: the teacher's share of the mixture, above 0 and below 1
  double temperature = 1;
  bool times_temperature_squared = false;  ///< Hinton et al. 2015: gradients of one size
  NonfiniteLogits nonfinite = NonfiniteLogits::kRefuse;
};

/// Throws ConfigError for a number out of range.
void check_options(const DivergenceOptions& options);

struct RowDivergence {
  at::Tensor values;    ///< [C]
  at::Tensor gradient;  ///< [C, V] of each row's value by the student's undivided logits
};

/// student_logits, teacher_logits [C, V] of one floating type, undivided; not changed. Collective
/// over `tensor` (null: the columns are all there are), whose ranks give the same rows: two
/// exchanges of 2 C numbers. Throws as check_options; ShapeError when the sizes disagree.
RowDivergence row_divergence(const at::Tensor& student_logits, const at::Tensor& teacher_logits,
                             const DivergenceOptions& options,
                             comm::Communicator* tensor = nullptr);

}  // namespace orrery::model
