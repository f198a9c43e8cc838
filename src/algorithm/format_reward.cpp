#include "orrery/algorithm/format_reward.h"

#include <utility>

#include "orrery/algorithm/reward_outcomes.h"
#include "orrery/algorithm/rewards.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

std::vector<OptionProblem> FormatRewardOptions::problems(const config::CallConfig&) const {
  if (auto problem = problem_of_outcomes(correct, wrong)) return {std::move(*problem)};
  if (pattern.empty() && min_tokens <= 1 && max_tokens == 0) {  // its end is a token
    return {{"pattern",
             "every answer has the form: write a pattern, min_tokens above 1 or max_tokens"}};
  }
  if (max_tokens > 0 && min_tokens > max_tokens) {
    return {
        {"min_tokens", base::concat("no answer has ", min_tokens, " tokens or more and at most ",
                                    max_tokens, ", which is max_tokens")}};
  }
  return {};
}

FormatReward::FormatReward(FormatRewardOptions options) : options_(std::move(options)) {
  if (!options_.pattern.empty()) pattern_ = std::make_unique<TextPattern>(options_.pattern);
}

data::SequenceBatch FormatReward::inference(ModelContext& model, const data::SequenceBatch& input,
                                            const CallContext& call) {
  const std::vector<Response> responses = responses_of(input, *model.tokenizer);
  std::vector<float> rewards;
  double n_right = 0, n_undecided = 0;
  for (const Response& response : responses) {
    const bool is_in_bounds =
        response.n_tokens >= options_.min_tokens &&
        (options_.max_tokens == 0 || response.n_tokens <= options_.max_tokens);
    auto match = TextPattern::Match::kYes;
    if (is_in_bounds && pattern_ != nullptr) match = pattern_->match(response.text);
    const bool is_right = is_in_bounds && match == TextPattern::Match::kYes;
    n_right += is_right ? 1 : 0;
    n_undecided += match == TextPattern::Match::kUndecided ? 1 : 0;
    rewards.push_back(static_cast<float>(is_right ? options_.correct : options_.wrong));
  }
  statistics_.merge(reward_statistics(rewards));
  statistics_.mean("correct", n_right, static_cast<double>(responses.size()));
  statistics_.sum("undecided", n_undecided);
  if (options_.dump_samples && !call.samples.empty() && model.is_dp_head) {
    dump_responses(call.samples, call.step, call.data_rank, responses, rewards);
  }
  return reward_batch(input, rewards);
}

}  // namespace orrery::algorithm
