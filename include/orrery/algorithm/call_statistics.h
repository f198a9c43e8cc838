// What is said about every generate and inference call, whatever its interface: tokens, and of
// calls that give rewards and of calls that write answers the spread, the groups and the data sets.
#pragma once

#include <string>

#include "orrery/data/sequence_batch.h"
#include "orrery/metrics/statistics.h"

namespace orrery::algorithm {

/// Name under which the samples of a batch say which data set they are of (a JSON text each).
inline constexpr const char* kDatasetOfSample = "dataset";

/// Of a call that turned `input` into `output`, both with the interface's names:
///   an output `rewards` [answers], NaN where an answer has none:
///     reward_std, uniform_group_ratio, dataset/NAME/reward
///   an output `packed_input_ids` with `prompt_mask` and `seq_no_eos_mask`:
///     dataset/NAME/prompt_length, response_length, no_eos_ratio
///   an input `packed_input_ids`: n_tokens
/// Local.
metrics::Statistics call_statistics(const data::SequenceBatch& input,
                                    const data::SequenceBatch& output);

}  // namespace orrery::algorithm
