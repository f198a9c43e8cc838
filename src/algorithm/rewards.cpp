#include "orrery/algorithm/rewards.h"

#include <cmath>

#include "orrery/algorithm/log_probs.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

data::SequenceBatch reward_batch(const data::SequenceBatch& input,
                                 const std::vector<float>& rewards) {
  data::SequenceBatch output;
  output.meta.ids = input.meta.ids;
  output.set("rewards", at::tensor(rewards, at::kFloat),
             one_each(input.meta.at("packed_input_ids").lengths));
  return output;
}

void check_finite(const data::SequenceBatch& input, const std::vector<float>& rewards,
                  const std::string& advice) {
  const data::NestedLengths& lengths = input.meta.at("packed_input_ids").lengths;
  size_t place = 0;
  for (size_t i = 0; i < input.size(); ++i) {
    for (size_t member = 0; member < lengths.of(i).size(); ++member, ++place) {
      if (std::isfinite(rewards.at(place))) continue;
      throw CallError(
          base::concat("the reward of answer ", input.meta.ids[i].value, "/", member),
          {.expected = "a finite number", .got = base::concat(rewards[place]), .advice = advice});
    }
  }
}

metrics::Statistics reward_statistics(const std::vector<float>& rewards) {
  metrics::Statistics statistics;
  for (const float reward : rewards) {
    if (std::isnan(reward)) continue;  // left out
    statistics.mean("reward", reward, 1);
    statistics.min("reward_min", reward);
    statistics.max("reward_max", reward);
  }
  return statistics;
}

}  // namespace orrery::algorithm
