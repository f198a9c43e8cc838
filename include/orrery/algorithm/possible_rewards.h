// The rewards that answers may have, as far as the options of calls tell before a run: a rule's two
// outcomes, its penalty for long answers, and what weights, bias, scale and clip make of them.
// Rank 0, before anything starts.
#pragma once

#include <string>
#include <vector>

#include "orrery/config/document.h"  // Problem
#include "orrery/config/experiment.h"

namespace orrery::algorithm {

struct PossibleReward {
  float value = 0;
  std::string keys;  ///< that make it, `call.reward.wrong = 0, call.reward.overlong_penalty = 1`
};

/// Of answers by the graph's key, smallest first; of a great many the smallest and the largest.
/// Empty: options do not tell.
std::vector<PossibleReward> possible_rewards(const config::Experiment& experiment,
                                             const std::string& graph_key);

/// Appends to `problems` every train_step whose estimator is not defined for a reward that an
/// answer may have. What a command or a model gives is taken as pass_at_k wants it, 0 and 1; of
/// maxrl nothing is said of it.
void check_outcomes(const config::Experiment& experiment, std::vector<config::Problem>& problems);

}  // namespace orrery::algorithm
