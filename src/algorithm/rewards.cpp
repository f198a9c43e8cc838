#include "orrery/algorithm/rewards.h"

namespace orrery::algorithm {

data::SequenceBatch reward_batch(const data::SequenceBatch& input,
                                 const std::vector<float>& rewards) {
  const data::NestedLengths& sequences = input.meta.at("packed_input_ids").lengths;
  data::NestedLengths ones;
  for (size_t i = 0; i < input.size(); ++i) {
    ones.add_sample(std::vector<int32_t>(sequences.of(i).size(), 1));
  }
  data::SequenceBatch output;
  output.meta.ids = input.meta.ids;
  output.set("rewards", at::tensor(rewards, at::kFloat), ones);
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
