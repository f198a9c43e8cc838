#include "orrery/algorithm/rule_reward.h"

#include "orrery/algorithm/responses.h"

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

data::SequenceBatch RuleReward::inference(ModelContext& model, const data::SequenceBatch& input,
                                          const CallContext& call) {
  const std::vector<Response> responses = responses_of(input, *model.tokenizer);
  std::vector<float> rewards;
  double right = 0;
  for (const Response& response : responses) {
    const bool is_right = is_match(rule_, response.text, response.answer);
    right += is_right ? 1 : 0;
    rewards.push_back(static_cast<float>(is_right ? options_.correct : options_.wrong));
    statistics_.mean("reward", rewards.back(), 1);
    statistics_.min("reward_min", rewards.back());
    statistics_.max("reward_max", rewards.back());
  }
  statistics_.mean("correct", right, static_cast<double>(responses.size()));
  if (options_.dump_samples && !call.samples.empty() && model.is_dp_head) {
    dump_responses(call.samples, call.step, call.data_rank, responses, rewards);
  }
  return reward_batch(input, rewards);
}

}  // namespace orrery::algorithm
