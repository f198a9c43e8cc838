// What all interfaces that score answers return and report.
#pragma once

#include <string>
#include <vector>

#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/responses.h"

namespace orrery::algorithm {

/// A batch with the samples of `input` and the key rewards: one for each of its sequences, fp32.
data::SequenceBatch reward_batch(const data::SequenceBatch& input,
                                 const std::vector<float>& rewards);

/// reward, reward_min and reward_max over the responses.
metrics::Statistics reward_statistics(const std::vector<float>& rewards);

}  // namespace orrery::algorithm
