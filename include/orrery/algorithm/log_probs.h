// Log-probabilities of a batch under the weights as they are, without gradients: what a reference
// model is asked for, and a policy before it is trained.
#pragma once

#include <ATen/core/Tensor.h>

#include "orrery/algorithm/interface.h"

namespace orrery::algorithm {

/// Lengths of actions for lengths of tokens: one less for each sequence.
data::NestedLengths action_lengths(const data::NestedLengths& tokens);

/// batch: packed_input_ids [T]. Returns [A] in the decoder's type, sequences in the batch's order,
/// computed in micro-batches of whole sequences. Local.
at::Tensor current_log_probs(ModelContext& model, const data::SequenceBatch& batch,
                             double temperature, const parallel::MicroBatchLimits& limits);

}  // namespace orrery::algorithm
