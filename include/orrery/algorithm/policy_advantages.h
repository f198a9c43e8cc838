// The advantages that a policy learns from, as the options say: from what the rewards come to
// (return_estimator.h) to one number an action. Shape letters: N sequences, A actions.
#pragma once

#include <ATen/core/Tensor.h>

#include "orrery/algorithm/ppo_options.h"
#include "orrery/algorithm/return_estimator.h"
#include "orrery/comm/communicator.h"
#include "orrery/data/sequence_batch.h"

namespace orrery::algorithm {

/// [A] fp32, or the type of the estimate's advantages where nothing normalises them.
///   input  packed_input_ids, prompt_mask [T], rewards [N] and where bound rewards_2, rewards_3
/// Collective over `ranks`, the data ranks. Throws as group_advantages and action_advantages.
at::Tensor policy_advantages(const ActorOptions& options, const Estimate& estimate,
                             const data::SequenceBatch& input, comm::Communicator& ranks);

}  // namespace orrery::algorithm
