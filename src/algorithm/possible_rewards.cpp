#include "orrery/algorithm/possible_rewards.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <variant>

#include "orrery/algorithm/combined_reward.h"  // weighted_rewards
#include "orrery/algorithm/group_advantages.h"
#include "orrery/algorithm/overlong_penalty.h"
#include "orrery/algorithm/ppo_options.h"
#include "orrery/algorithm/registry.h"  // option_facts
#include "orrery/base/text.h"
#include "orrery/config/load.h"  // problem_of
#include "orrery/config/options.h"

namespace orrery::algorithm {

namespace {

/// By value, with the keys that make it.
using Rewards = std::map<float, std::vector<std::string>>;

/// More sums than this are known by their ends.
constexpr size_t kMostSums = 1000;
/// Calls that read one another's rewards, at most: the graph's check reports a cycle.
constexpr int kMostCalls = 8;

Rewards each(const Rewards& rewards, const auto& change, const std::vector<std::string>& keys) {
  Rewards changed;
  for (const auto& [value, origin] : rewards) {
    std::vector<std::string> all = origin;
    all.insert(all.end(), keys.begin(), keys.end());
    changed.emplace(change(value), std::move(all));
  }
  return changed;
}

/// `call.NAME.OPTION = VALUE`
std::string stated(const std::string& call, const char* option, const auto& value) {
  return base::concat("call.", call, ".", option, " = ", value);
}

/// A reward with its weight.
struct Part {
  Rewards rewards;
  double weight = 1;
  std::string key;  ///< that says the weight; "": it is 1
};

/// Weighted sums of one reward of each part.
Rewards sums_of(const std::vector<Part>& parts) {
  std::map<double, std::vector<std::string>> sums = {{0, {}}};
  for (const Part& part : parts) {
    if (part.weight == 0) continue;
    std::map<double, std::vector<std::string>> longer;
    for (const auto& [sum, keys] : sums) {
      for (const auto& [value, origin] : part.rewards) {
        std::vector<std::string> all = keys;
        all.insert(all.end(), origin.begin(), origin.end());
        if (!part.key.empty()) all.push_back(part.key);
        longer.emplace(sum + part.weight * double{value}, std::move(all));
      }
    }
    if (longer.size() > kMostSums) longer = {*longer.begin(), *longer.rbegin()};
    sums = std::move(longer);
  }
  Rewards result;
  for (auto& [sum, keys] : sums) result.emplace(static_cast<float>(sum), std::move(keys));
  return result;
}

class Reader {
 public:
  explicit Reader(const config::Experiment& experiment) : experiment_(experiment) {}

  /// Nothing: the options of the call that writes it do not tell.
  std::optional<Rewards> of_key(const std::string& graph_key, int depth = 0) const {
    const auto* const named = experiment_.writer_of(graph_key);
    if (named == nullptr || depth > kMostCalls) return std::nullopt;
    const auto& [name, call] = *named;
    std::optional<Rewards> rewards =
        call.interface == "combined_reward" ? sums(name, call, depth) : outcomes(name, call);
    if (rewards) add_penalties(name, call, *rewards);
    return rewards;
  }

  /// The same of a call that gives 0 and 1, if it is not known what it gives.
  Rewards as_outcomes(const std::string& graph_key) const {
    if (std::optional<Rewards> known = of_key(graph_key)) return std::move(*known);
    Rewards rewards = {{0, {}}, {1, {}}};
    if (const auto* const named = experiment_.writer_of(graph_key)) {
      add_penalties(named->first, named->second, rewards);
    }
    return rewards;
  }

 private:
  static std::optional<Rewards> outcomes(const std::string& name, const config::CallConfig& call) {
    const auto facts = option_facts(call).outcomes;
    if (!facts) return std::nullopt;
    const auto& [correct, wrong] = *facts;
    Rewards rewards;
    rewards.emplace(static_cast<float>(correct), std::vector{stated(name, "correct", correct)});
    rewards.emplace(static_cast<float>(wrong), std::vector{stated(name, "wrong", wrong)});
    return rewards;
  }

  std::optional<Rewards> sums(const std::string& name, const config::CallConfig& call,
                              int depth) const {
    const auto read = weighted_rewards(config::option_or<std::string>(call, "rewards", ""));
    const auto* const weights = std::get_if<std::vector<WeightedReward>>(&read);
    if (weights == nullptr) return std::nullopt;  // has been reported
    std::vector<Part> parts;
    for (const WeightedReward& reward : *weights) {
      const config::KeyBinding* const input = config::find_binding(call.inputs, reward.name);
      if (input == nullptr) return std::nullopt;
      std::optional<Rewards> rewards = of_key(input->graph_key, depth + 1);
      if (!rewards) return std::nullopt;
      parts.push_back(
          {.rewards = std::move(*rewards),
           .weight = reward.weight,
           .key = stated(name, "rewards", base::concat(reward.name, ":", reward.weight))});
    }
    return sums_of(parts);
  }

  /// Rewards of answers that are too long, up to the longest that is generated.
  void add_penalties(const std::string& name, const config::CallConfig& call,
                     Rewards& rewards) const {
    const OverlongPenalty penalty{
        .max_length = config::option_or<int64_t>(call, "overlong_max_length", 0),
        .buffer_length = config::option_or<int64_t>(call, "overlong_buffer", 0),
        .factor = config::option_or<double>(call, "overlong_penalty", 1)};
    if (penalty.max_length < 1 || penalty.buffer_length > penalty.max_length) return;
    const std::vector<std::string> keys = {stated(name, "overlong_max_length", penalty.max_length),
                                           stated(name, "overlong_penalty", penalty.factor)};
    const int64_t longest = longest_answer(call).value_or(penalty.max_length + 1);
    const int64_t first = penalty.max_length - penalty.buffer_length + 1;
    const Rewards in_time = rewards;
    for (const int64_t length : {first, longest}) {
      if (length > longest) continue;
      const auto loss = static_cast<float>(overlong_penalty(length, penalty));
      if (loss != 0)
        rewards.merge(each(
            in_time, [&](float x) { return x + loss; }, keys));
    }
  }

  std::optional<int64_t> longest_answer(const config::CallConfig& judge) const {
    const config::KeyBinding* const input = config::find_binding(judge.inputs, "packed_input_ids");
    const auto* const named = input == nullptr ? nullptr : experiment_.writer_of(input->graph_key);
    return named == nullptr ? std::nullopt : option_facts(named->second).max_new_tokens;
  }

  const config::Experiment& experiment_;
};

/// What a policy makes of the rewards that it reads, in the precision that it does so.
Rewards as_learned(const std::string& name, const ActorOptions& options, std::vector<Part> parts) {
  Rewards rewards = sums_of(parts);
  if (options.reward_bias != 0) {
    const auto bias = static_cast<float>(options.reward_bias);
    rewards = each(rewards, [&](float x) { return x - bias; },
                   {stated(name, "reward_bias", options.reward_bias)});
  }
  if (options.reward_scaling != 1) {
    const auto scale = static_cast<float>(options.reward_scaling);
    rewards = each(rewards, [&](float x) { return x * scale; },
                   {stated(name, "reward_scaling", options.reward_scaling)});
  }
  if (options.max_reward_clip > 0) {
    const auto most = static_cast<float>(options.max_reward_clip);
    const auto is_inside = [&](const auto& reward) { return std::abs(reward.first) <= most; };
    if (!std::all_of(rewards.begin(), rewards.end(), is_inside)) {
      rewards = each(rewards, [&](float x) { return std::clamp(x, -most, most); },
                     {stated(name, "max_reward_clip", options.max_reward_clip)});
    }
  }
  return rewards;
}

/// Keys once each, in their order.
std::string text_of(const std::vector<std::string>& keys) {
  std::vector<std::string> once;
  for (const std::string& key : keys) {
    if (std::find(once.begin(), once.end(), key) == once.end()) once.push_back(key);
  }
  return base::join(once, ", ");
}

void check_call(const config::Experiment& experiment, const std::string& name,
                const config::CallConfig& call, std::vector<config::Problem>& problems) {
  const auto options = config::parse_options<GrpoOptions>(call.options);
  const bool is_pass_at_k = options.estimator == "pass_at_k";
  if (!is_pass_at_k && options.estimator != "maxrl") return;
  const GroupEstimator estimator = group_estimator_named(options.estimator);
  if (config::find_binding(call.inputs, "dense_rewards") != nullptr) return;
  const Reader reader(experiment);
  std::vector<Part> parts;
  for (const auto& [key, option, weight] :
       {std::tuple{"rewards", "reward_weight", options.reward_weight},
        {"rewards_2", "reward_weight_2", options.reward_weight_2},
        {"rewards_3", "reward_weight_3", options.reward_weight_3}}) {
    const config::KeyBinding* const input = config::find_binding(call.inputs, key);
    if (input == nullptr) continue;
    std::optional<Rewards> rewards =
        is_pass_at_k ? reader.as_outcomes(input->graph_key) : reader.of_key(input->graph_key);
    if (!rewards) return;
    parts.push_back({.rewards = std::move(*rewards), .weight = weight, .key = {}});
    if (weight != 1) parts.back().key = stated(name, option, weight);
  }
  const bool are_several = parts.size() > 1;
  for (const auto& [value, keys] : as_learned(name, options, std::move(parts))) {
    if (is_defined_for(estimator, value)) continue;
    std::string origin = text_of(keys);
    if (origin.empty()) origin = "a sum of rewards";
    problems.push_back(config::problem_of(
        experiment, base::concat("call.", name, ".estimator"),
        base::concat(options.estimator, " wants rewards ",
                     is_pass_at_k ? "0 and 1" : "of at least 0", ", but an answer may have ", value,
                     ": ", origin, are_several ? " (the rewards that are read are added up)" : "",
                     "; change these, or write another estimator")));
    return;
  }
}

}  // namespace

std::vector<PossibleReward> possible_rewards(const config::Experiment& experiment,
                                             const std::string& graph_key) {
  std::vector<PossibleReward> possible;
  const std::optional<Rewards> known = Reader(experiment).of_key(graph_key);
  if (!known) return possible;
  for (const auto& [value, keys] : *known) {
    possible.push_back({.value = value, .keys = text_of(keys)});
  }
  return possible;
}

void check_outcomes(const config::Experiment& experiment, std::vector<config::Problem>& problems) {
  for (const auto& [name, call] : experiment.calls) {
    if (call.enabled && call.kind == "train_step" && call.interface == "grpo") {
      check_call(experiment, name, call, problems);
    }
  }
}

}  // namespace orrery::algorithm
