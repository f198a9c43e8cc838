#include "orrery/algorithm/reward_functions.h"

#include <ATen/ATen.h>

#include <utility>

#include "orrery/algorithm/group_advantages.h"  // weighted_rewards

namespace orrery::algorithm {

RewardFunctions reward_functions(const data::SequenceBatch& input, const ObjectiveFields& options) {
  RewardFunctions functions;
  for (const auto& [key, weight] : {std::pair{"rewards", options.reward_weight},
                                    {"rewards_2", options.reward_weight_2},
                                    {"rewards_3", options.reward_weight_3}}) {
    if (!input.has_data(key)) continue;
    functions.rewards.push_back(input.at(key));
    functions.weights.push_back(weight);
  }
  return functions;
}

data::SequenceBatch with_one_reward(const data::SequenceBatch& input,
                                    const ObjectiveFields& options) {
  const RewardFunctions functions = reward_functions(input, options);
  data::SequenceBatch result = input;
  if (functions.rewards.size() == 1 && options.reward_weight == 1) return result;
  result.set("rewards", weighted_rewards(functions.rewards, functions.weights).to(at::kFloat),
             input.meta.at("rewards").lengths);
  return result;
}

}  // namespace orrery::algorithm
