#include "orrery/algorithm/combined_reward.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "orrery/algorithm/rewards.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

/// What the interface reads beside rewards.
const std::set<std::string> kOfTheAnswers = {"packed_input_ids", "prompt_mask", "answers", "fields",
                                             "prompt_texts"};

}  // namespace

std::variant<std::vector<WeightedReward>, std::string> weighted_rewards(std::string_view text) {
  std::vector<WeightedReward> rewards;
  std::set<std::string> seen;
  for (const std::string& item : base::split(text, ',')) {
    const size_t colon = item.rfind(':');
    const std::string name(base::trim(std::string_view(item).substr(0, colon)));
    double weight = 0;
    if (name.empty() || colon == std::string::npos) {
      return base::concat("must be a list as math:1.0, format:0.2, got '", base::trim(item), "'");
    }
    if (const auto problem = config::read_value(base::trim(item.substr(colon + 1)), weight)) {
      return base::concat("the weight of ", name, ": ", *problem);
    }
    if (!std::isfinite(static_cast<float>(weight))) {
      return base::concat("the weight of ", name, " is infinite in fp32");
    }
    if (!seen.insert(name).second) return base::concat(name, " stands there twice");
    rewards.push_back({.name = name, .weight = weight});
  }
  return rewards;
}

config::Check weighted_rewards_list() {
  return {.text = "key:weight, ...",
          .problem = [](const std::string& value) -> std::optional<std::string> {
            const auto read = weighted_rewards(value);
            const std::string* const problem = std::get_if<std::string>(&read);
            return problem == nullptr ? std::nullopt : std::optional(*problem);
          }};
}

std::vector<OptionProblem> CombinedRewardOptions::problems(const config::CallConfig& call) const {
  if (rewards.empty()) return {{"rewards", "is missing: key:weight, ... of the rewards to add"}};
  std::vector<OptionProblem> problems;
  std::set<std::string> unweighted;
  for (const config::KeyBinding& input : call.inputs) {
    if (!kOfTheAnswers.contains(input.interface_key)) unweighted.insert(input.interface_key);
  }
  const auto weights = weighted_rewards(rewards);
  for (const WeightedReward& reward : std::get<0>(weights)) {
    if (unweighted.erase(reward.name) > 0) continue;
    problems.push_back({"rewards", base::concat(reward.name,
                                                " is not among the inputs of the call; "
                                                "the call that gives it has outputs = rewards:",
                                                reward.name)});
  }
  const auto& all = std::get<0>(weights);
  if (std::all_of(all.begin(), all.end(), [](const WeightedReward& reward) {
        return static_cast<float>(reward.weight) == 0;
      })) {
    problems.push_back({"rewards",
                        "every weight is 0: all answers get the reward 0 and nothing is learned; "
                        "write another weight for one of them"});
  }
  for (const std::string& name : unweighted) {
    problems.push_back({"inputs", base::concat("the key ", name, " has no weight in rewards")});
  }
  return problems;
}

CombinedReward::CombinedReward(CombinedRewardOptions options) : options_(std::move(options)) {
  if (options_.rewards.empty()) return;  // problems() says so before any run
  const auto read = weighted_rewards(options_.rewards);
  if (const std::string* const problem = std::get_if<std::string>(&read)) {
    throw ConfigError(base::concat("rewards: ", *problem));
  }
  rewards_ = std::get<0>(read);
}

data::SequenceBatch CombinedReward::inference(ModelContext& model, const data::SequenceBatch& input,
                                              const CallContext& call) {
  std::vector<Response> responses = responses_of(input, *model.tokenizer);
  std::vector<double> sums(responses.size());
  for (const WeightedReward& reward : rewards_) {
    const at::Tensor values = input.at(reward.name).to(at::kFloat).contiguous();
    if (values.numel() != static_cast<int64_t>(sums.size())) {
      throw CallError(base::concat("the key ", reward.name, " holds no rewards of these answers"),
                      {.expected = base::concat(sums.size(), " numbers"),
                       .got = base::concat(values.numel()),
                       .advice = base::concat("the call that writes it needs outputs = rewards:",
                                              reward.name)});
    }
    const float* const value = values.const_data_ptr<float>();
    for (size_t i = 0; i < sums.size(); ++i) {
      sums[i] += reward.weight * double{value[i]};
      if (std::isnan(value[i])) continue;  // and so is the sum
      responses[i].parts[reward.name] = value[i];
      statistics_.mean(base::concat("reward/", reward.name), value[i], 1);
    }
  }
  const std::vector<float> rewards(sums.begin(), sums.end());
  statistics_.merge(reward_statistics(rewards));
  if (options_.dump_samples && !call.samples.empty() && model.is_dp_head) {
    dump_responses(call.samples, call.step, call.data_rank, responses, rewards);
  }
  return reward_batch(input, rewards);
}

}  // namespace orrery::algorithm
