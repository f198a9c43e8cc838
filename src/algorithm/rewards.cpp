#include "orrery/algorithm/rewards.h"

#include "orrery/algorithm/log_probs.h"

namespace orrery::algorithm {

data::SequenceBatch reward_batch(const data::SequenceBatch& input,
                                 const std::vector<float>& rewards) {
  data::SequenceBatch output;
  output.meta.ids = input.meta.ids;
  output.set("rewards", at::tensor(rewards, at::kFloat),
             one_each(input.meta.at("packed_input_ids").lengths));
  return output;
}

metrics::Statistics reward_statistics(const std::vector<float>& rewards) {
  metrics::Statistics statistics;
  for (const float reward : rewards) {
    statistics.mean("reward", reward, 1);
    statistics.min("reward_min", reward);
    statistics.max("reward_max", reward);
  }
  return statistics;
}

}  // namespace orrery::algorithm
