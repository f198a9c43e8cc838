#include "orrery/master/dynamic_sampling.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::master {

namespace {

using base::concat;

void require(bool holds, const std::string& what, const std::string& expected, double got) {
  if (holds) return;
  throw ConfigError(concat("dynamic sampling: ", what),
                    {.expected = expected, .got = concat(got), .advice = {}});
}

[[noreturn]] void refuse_name(const std::string& what, const std::string& expected,
                              std::string_view got) {
  throw ConfigError(concat("dynamic sampling: ", what),
                    {.expected = expected, .got = std::string(got), .advice = {}});
}

}  // namespace

AcceptMetric accept_metric_named(std::string_view name) {
  if (name == "accuracy") return AcceptMetric::kAccuracy;
  if (name == "reward_spread") return AcceptMetric::kRewardSpread;
  refuse_name("metric of acceptance", "accuracy or reward_spread", name);
}

Surplus surplus_named(std::string_view name) {
  if (name == "carry_over") return Surplus::kCarryOver;
  if (name == "discard") return Surplus::kDiscard;
  refuse_name("what becomes of the surplus", "carry_over or discard", name);
}

OnLimit on_limit_named(std::string_view name) {
  if (name == "refuse") return OnLimit::kRefuse;
  if (name == "use_partial") return OnLimit::kUsePartial;
  refuse_name("what a limit does", "refuse or use_partial", name);
}

void check(const DynamicSamplingOptions& options) {
  const AcceptRule& accept = options.accept;
  require(options.batch_groups >= 1, "groups of a batch", "at least 1",
          static_cast<double>(options.batch_groups));
  require(options.groups_per_round >= 1, "groups of a round", "at least 1",
          static_cast<double>(options.groups_per_round));
  require(options.max_rounds >= 0, "rounds of a step", "at least 1, or 0: no limit",
          static_cast<double>(options.max_rounds));
  if (accept.metric == AcceptMetric::kRewardSpread) {
    require(accept.min_spread >= 0 && std::isfinite(accept.min_spread), "smallest spread",
            "a finite number, at least 0", accept.min_spread);
    return;
  }
  require(std::isfinite(accept.correct_above), "reward above which an answer is right",
          "a finite number", accept.correct_above);
  require(std::isfinite(accept.low), "lower bound of the accuracy", "a finite number", accept.low);
  require(accept.high > accept.low && std::isfinite(accept.high), "upper bound of the accuracy",
          concat("a finite number above the lower bound (", accept.low, ")"), accept.high);
}

double share_above(std::span<const double> rewards, double correct_above) {
  if (rewards.empty()) return 0;
  const auto n = std::count_if(rewards.begin(), rewards.end(),
                               [&](double reward) { return reward > correct_above; });
  return static_cast<double>(n) / static_cast<double>(rewards.size());
}

bool is_accepted(std::span<const double> rewards, const AcceptRule& rule) {
  for (const double reward : rewards) {
    if (std::isfinite(reward)) continue;
    throw CallError("dynamic sampling: a reward cannot be judged",
                    {.expected = "a finite number",
                     .got = concat(reward),
                     .advice = "look at what gives the rewards"});
  }
  if (rewards.empty()) return false;
  if (rule.metric == AcceptMetric::kRewardSpread) {
    const auto [least, most] = std::minmax_element(rewards.begin(), rewards.end());
    return *most - *least > rule.min_spread;
  }
  const double share = share_above(rewards, rule.correct_above);
  return rule.low < share && share < rule.high;
}

DynamicSampling::DynamicSampling(DynamicSamplingOptions options) : options_(options) {
  check(options_);
}

void DynamicSampling::begin_step() {
  step_ = {};
  step_.carried_in = n_accepted();
}

int64_t DynamicSampling::next_round(int64_t n_available) const {
  const bool is_full = n_accepted() >= options_.batch_groups;
  const bool is_at_limit = options_.max_rounds > 0 && step_.rounds >= options_.max_rounds;
  if (is_full || is_at_limit) return 0;
  return std::min(options_.groups_per_round, n_available);
}

RoundResult DynamicSampling::judge(const std::vector<JudgedGroup>& round) {
  RoundResult result;
  for (const JudgedGroup& judged : round) {
    (is_accepted(judged.rewards, options_.accept) ? result.accepted : result.rejected)
        .push_back(judged.group);
  }
  ++step_.rounds;
  step_.generated_groups += static_cast<int64_t>(round.size());
  accepted_.insert(accepted_.end(), result.accepted.begin(), result.accepted.end());
  step_.rejected.insert(step_.rejected.end(), result.rejected.begin(), result.rejected.end());
  return result;
}

SampledStep DynamicSampling::finish_step() {
  step_.is_complete = n_accepted() >= options_.batch_groups;
  if (!step_.is_complete && options_.on_limit == OnLimit::kRefuse) {
    const bool is_at_limit = options_.max_rounds > 0 && step_.rounds >= options_.max_rounds;
    throw CallError(
        concat("dynamic sampling: the batch of a step is not full after ",
               base::counted(step_.rounds, "round"),
               is_at_limit ? ", the most that are allowed" : ", and there is no further prompt"),
        {.expected = base::counted(options_.batch_groups, "accepted group"),
         .got = concat(n_accepted(), " of ", step_.generated_groups, " generated",
                       step_.carried_in > 0 ? concat(" and ", step_.carried_in, " carried over")
                                            : std::string()),
         .advice =
             "accept more (low, high, min_spread), allow more rounds (max_rounds), give other "
             "prompts, or set on_limit = use_partial"});
  }
  const auto n = static_cast<std::ptrdiff_t>(std::min(n_accepted(), options_.batch_groups));
  step_.accepted.assign(accepted_.begin(), accepted_.begin() + n);
  accepted_.erase(accepted_.begin(), accepted_.begin() + n);
  if (options_.surplus == Surplus::kDiscard) step_.discarded = std::exchange(accepted_, {});
  step_.carried_over = accepted_;
  return std::exchange(step_, {});
}

}  // namespace orrery::master
