// What a model says of a batch with its weights as they are, without gradients: log-probabilities
// of a reference model, or of a policy before it is trained; values of a critic; scores of a reward
// model. All in micro-batches of whole sequences, sequences in the batch's order. Collective over
// the shards of a data rank.
#pragma once

#include <ATen/core/Tensor.h>

#include "orrery/algorithm/interface.h"

namespace orrery::algorithm {

/// Lengths of actions for lengths of tokens: one less for each sequence.
data::NestedLengths action_lengths(const data::NestedLengths& tokens);

/// One number for each sequence of `tokens`.
data::NestedLengths one_each(const data::NestedLengths& tokens);

/// batch: packed_input_ids [T]. Returns [A] in the decoder's type.
at::Tensor current_log_probs(ModelContext& model, const data::SequenceBatch& batch,
                             double temperature, const parallel::MicroBatchLimits& limits);

/// The same as the batch that an inference call gives: packed_logprobs, with `input`'s ids.
data::SequenceBatch packed_log_probs(ModelContext& model, const data::SequenceBatch& input,
                                     double temperature, const parallel::MicroBatchLimits& limits);

/// Of a decoder with a value head: [T] in the decoder's type.
at::Tensor current_values(ModelContext& model, const data::SequenceBatch& batch,
                          const parallel::MicroBatchLimits& limits);

/// Before the head: [T, H] in the decoder's type, the output of the last norm.
at::Tensor current_hidden(ModelContext& model, const data::SequenceBatch& batch,
                          const parallel::MicroBatchLimits& limits);

/// Throws CallError that says `what` a model gave, when one of the numbers is NaN or infinite:
/// nobody can learn from that, and no rule should judge the text that it makes.
void check_finite(const at::Tensor& numbers, const char* what);

}  // namespace orrery::algorithm
