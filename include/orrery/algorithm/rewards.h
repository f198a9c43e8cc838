// What all interfaces that score answers return and report.
#pragma once

#include <string>
#include <vector>

#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/responses.h"

namespace orrery::algorithm {

/// A batch with the samples of `input` and the key rewards: one for each of its sequences, fp32.
/// NaN: the sequence has none and is left out of what is learned and reported.
data::SequenceBatch reward_batch(const data::SequenceBatch& input,
                                 const std::vector<float>& rewards);

/// Throws CallError that names the first sequence of `input` whose reward is NaN or infinite: for
/// what scores every answer.
void check_finite(const data::SequenceBatch& input, const std::vector<float>& rewards,
                  const std::string& advice);

/// reward, reward_min and reward_max over the responses that have one.
metrics::Statistics reward_statistics(const std::vector<float>& rewards);

}  // namespace orrery::algorithm
