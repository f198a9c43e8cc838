// Several rewards of an answer: the inputs rewards, rewards_2 and rewards_3 of a policy's train
// step, as far as they are bound. Local. Shape letter: N sequences.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "orrery/algorithm/objective_fields.h"
#include "orrery/data/sequence_batch.h"

namespace orrery::algorithm {

struct RewardFunctions {
  std::vector<at::Tensor> rewards;  ///< [N] each; NaN: this function leaves the answer out
  std::vector<double> weights;
};

RewardFunctions reward_functions(const data::SequenceBatch& input, const ObjectiveFields& options);

/// The batch with the weighted sum of its rewards as rewards [N] fp32: NaN where one of them is.
/// Throws ShapeError when they differ in size.
data::SequenceBatch with_one_reward(const data::SequenceBatch& input,
                                    const ObjectiveFields& options);

}  // namespace orrery::algorithm
