#include "orrery/algorithm/rule_reward.h"

#include <utility>

#include "orrery/algorithm/reward_outcomes.h"
#include "orrery/algorithm/rewards.h"

namespace orrery::algorithm {

std::vector<OptionProblem> RuleRewardOptions::problems(const config::CallConfig&) const {
  std::vector<OptionProblem> found = overlong_problems();
  if (auto problem = problem_of_outcomes(correct, wrong)) {
    // Lengths alone may be what somebody wants to reward.
    if (is_on()) problem->severity = OptionProblem::Severity::kWarning;
    found.push_back(std::move(*problem));
  }
  return found;
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
  }
  statistics_.merge(reward_statistics(rewards));
  statistics_.mean("correct", right, static_cast<double>(responses.size()));
  statistics_.merge(add_overlong_penalty(options_, answer_lengths(responses), rewards));
  if (options_.dump_samples && !call.samples.empty() && model.is_dp_head) {
    dump_responses(call.samples, call.step, call.data_rank, responses, rewards);
  }
  return reward_batch(input, rewards);
}

}  // namespace orrery::algorithm
