#include "orrery/algorithm/group_advantages.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <string>

#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

/// The kept answers of each group, by place.
using Groups = std::vector<std::vector<int64_t>>;

Groups groups_of(const at::Tensor& rewards, const std::vector<int32_t>& group_sizes,
                 const at::Tensor& kept) {
  const int64_t n = std::accumulate(group_sizes.begin(), group_sizes.end(), int64_t{0});
  if (rewards.numel() != n || (kept.defined() && kept.numel() != n)) {
    throw ShapeError("rewards do not fit the groups",
                     {.expected = base::concat(n, " answers in ", group_sizes.size(), " groups"),
                      .got = base::concat(rewards.numel(), " rewards"),
                      .advice = {}});
  }
  const at::Tensor mask = kept.defined() ? kept.contiguous() : at::ones({n}, at::kBool);
  const bool* is_kept = mask.const_data_ptr<bool>();
  Groups groups(group_sizes.size());
  int64_t place = 0;
  for (size_t g = 0; g < groups.size(); ++g) {
    for (int32_t i = 0; i < group_sizes[g]; ++i, ++place) {
      if (is_kept[place]) groups[g].push_back(place);
    }
  }
  return groups;
}

bool is_uniform(const std::vector<int64_t>& group, const double* reward) {
  return std::all_of(group.begin(), group.end(),
                     [&](int64_t i) { return reward[i] == reward[group.front()]; });
}

struct Moments {
  double count = 0;
  double mean = 0;
  double squares = 0;  ///< sum of squared differences from the mean

  double variance(Variance kind) const {
    const double divisor = kind == Variance::kUnbiased ? count - 1 : count;
    return divisor > 0 ? squares / divisor : 0;
  }
};

/// In two passes: the difference of a mean square and a squared mean loses digits.
Moments moments_of(const std::vector<int64_t>& places, const double* reward,
                   comm::Communicator* ranks) {
  const auto sum_over_ranks = [&](std::vector<double> numbers) {
    if (ranks == nullptr || ranks->size() == 1) return numbers;
    at::Tensor sums = at::tensor(numbers, at::kDouble);
    ranks->all_reduce(sums, comm::ReduceOp::kSum);
    std::copy_n(sums.const_data_ptr<double>(), numbers.size(), numbers.begin());
    return numbers;
  };
  double sum = 0;
  for (const int64_t i : places) sum += reward[i];
  const std::vector<double> first = sum_over_ranks({sum, static_cast<double>(places.size())});
  Moments moments{.count = first[1], .mean = first[1] > 0 ? first[0] / first[1] : 0};
  for (const int64_t i : places) {
    moments.squares += (reward[i] - moments.mean) * (reward[i] - moments.mean);
  }
  moments.squares = sum_over_ranks({moments.squares}).front();
  return moments;
}

double divisor_of(double variance, const GroupOptions& options) {
  switch (options.eps_mode) {
    case EpsMode::kAddedToStd:
      return std::sqrt(variance) + options.eps;
    case EpsMode::kAddedToVariance:
      return std::sqrt(variance + options.eps);
    case EpsMode::kVarianceFloor:
      return std::sqrt(std::max(variance, options.eps));
  }
  return 1;
}

void check_finite(const Groups& groups, const double* reward) {
  for (const std::vector<int64_t>& group : groups) {
    for (const int64_t i : group) {
      if (std::isfinite(reward[i])) continue;
      throw CallError(base::concat("the reward of answer ", i, " of this data rank's part"),
                      {.expected = "a finite number, or NaN for an answer that is left out",
                       .got = base::concat(reward[i]),
                       .advice = "look at what gives the rewards, and at reward_scaling"});
    }
  }
}

std::vector<int64_t> joined(const Groups& groups) {
  std::vector<int64_t> all;
  for (const auto& group : groups) all.insert(all.end(), group.begin(), group.end());
  return all;
}

void check_functions(const std::vector<at::Tensor>& rewards, const std::vector<double>& weights) {
  bool is_sound = !rewards.empty() && rewards.size() == weights.size();
  for (const at::Tensor& each : rewards) is_sound &= each.numel() == rewards[0].numel();
  if (is_sound) return;
  throw ShapeError("reward functions",
                   {.expected = "one or more, each with a weight and as many rewards",
                    .got = base::concat(rewards.size(), " functions, ", weights.size(), " weights"),
                    .advice = {}});
}

void check_options(const GroupOptions& options, const std::vector<int32_t>& lengths, int64_t n) {
  if (!(options.eps >= 0)) {
    throw ConfigError("epsilon of a deviation",
                      {.expected = "at least 0", .got = base::concat(options.eps), .advice = {}});
  }
  if (options.estimator == GroupEstimator::kPassAtK && options.k < 1) {
    throw ConfigError("k of pass@k",
                      {.expected = "at least 1", .got = base::concat(options.k), .advice = {}});
  }
  if (options.estimator == GroupEstimator::kLengthWeighted &&
      static_cast<int64_t>(lengths.size()) != n) {
    throw ShapeError("lengths of the answers", {.expected = base::concat(n, " of them"),
                                                .got = base::concat(lengths.size()),
                                                .advice = {}});
  }
}

constexpr const char* kOnRewards =
    "look at the call that gives the rewards, and at reward_weight, reward_bias, reward_scaling "
    "and max_reward_clip of this one, or write another estimator";

/// Rewards that an estimator is not defined for.
void check_domain(const Groups& groups, const double* reward, const GroupOptions& options) {
  const auto refuse = [&](const char* expected, const std::string& got, const char* advice) {
    throw CallError("rewards of a group", {.expected = expected, .got = got, .advice = advice});
  };
  for (const std::vector<int64_t>& group : groups) {
    if (options.estimator == GroupEstimator::kPassAtK && !group.empty() &&
        static_cast<int64_t>(group.size()) < options.k) {
      refuse("k answers or more for pass@k", base::concat(group.size()), "write a smaller pass_k");
    }
    for (const int64_t i : group) {
      if (is_defined_for(options.estimator, reward[i])) continue;
      const bool is_pass_at_k = options.estimator == GroupEstimator::kPassAtK;
      refuse(is_pass_at_k ? "0 or 1 for pass@k" : "at least 0 for maxrl", base::concat(reward[i]),
             kOnRewards);
    }
  }
}

/// What the answers of a group whose rewards differ are compared with: the advantage is
/// (reward - baseline) / divisor, or where there are differences of their own those / divisor.
struct Comparison {
  double baseline = 0;
  double divisor = 1;
  std::map<int64_t, double> differences = {};  ///< by place
};

/// C(n, k) / C(m, k) for n <= m.
double share_of_subsets(double n, double m, int64_t k) {
  double share = 1;
  for (int64_t i = 0; i < k; ++i) {
    share *= std::max(n - static_cast<double>(i), 0.0) / (m - static_cast<double>(i));
  }
  return share;
}

Comparison pass_at_k(const std::vector<int64_t>& group, const double* reward, int64_t k) {
  const auto n = static_cast<double>(group.size());
  double n_wrong = n;
  for (const int64_t i : group) n_wrong -= reward[i];
  const double passed = 1 - share_of_subsets(n_wrong, n, k);
  const double failed_with_wrong = share_of_subsets(n_wrong - 1, n - 1, k - 1);
  Comparison result;
  result.divisor = std::sqrt(passed * (1 - passed));
  for (const int64_t i : group) {
    result.differences[i] = 1 - passed - (reward[i] == 0 ? failed_with_wrong : 0);
  }
  return result;
}

Comparison leave_one_out_max(const std::vector<int64_t>& group, const double* reward) {
  double best = -std::numeric_limits<double>::infinity(), second = best;
  for (const int64_t i : group) {
    second = std::max(second, std::min(best, reward[i]));
    best = std::max(best, reward[i]);
  }
  Comparison result;
  for (const int64_t i : group) result.differences[i] = reward[i] == best ? best - second : 0;
  return result;
}

double mean_by_length(const std::vector<int64_t>& group, const double* reward,
                      const std::vector<int32_t>& lengths) {
  double sum = 0, total = 0;
  for (const int64_t i : group) {
    const double length = lengths[base::index(i)];
    sum += length * reward[i];
    total += length;
  }
  return total > 0 ? sum / total : 0;
}

Comparison comparison_of(const std::vector<int64_t>& group, const double* reward,
                         const std::vector<int32_t>& lengths, const GroupOptions& options) {
  const Moments moments = moments_of(group, reward, nullptr);
  switch (options.estimator) {
    case GroupEstimator::kStandardised:
      return {.baseline = moments.mean,
              .divisor = divisor_of(moments.variance(options.variance), options)};
    case GroupEstimator::kMeanOnly:
      return {.baseline = moments.mean};
    case GroupEstimator::kLeaveOneOut:
      // The mean of the others is mean - difference / (n - 1).
      return {.baseline = moments.mean, .divisor = (moments.count - 1) / moments.count};
    case GroupEstimator::kLengthWeighted:
      return {.baseline = mean_by_length(group, reward, lengths)};
    case GroupEstimator::kMaxRl:
      return {.baseline = moments.mean, .divisor = moments.mean};
    case GroupEstimator::kPassAtK:
      return pass_at_k(group, reward, options.k);
    case GroupEstimator::kLeaveOneOutMax:
      return leave_one_out_max(group, reward);
  }
  return {};
}

/// Whether the numbers of all ranks are one.
bool is_uniform_over(const std::vector<int64_t>& places, const double* value,
                     comm::Communicator* ranks) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const int64_t i : places) {
    low = std::min(low, value[i]);
    high = std::max(high, value[i]);
  }
  if (ranks != nullptr && ranks->size() > 1) {
    at::Tensor ends = at::tensor({low, -high}, at::kDouble);
    ranks->all_reduce(ends, comm::ReduceOp::kMin);
    low = ends.const_data_ptr<double>()[0];
    high = -ends.const_data_ptr<double>()[1];
  }
  return low >= high;
}

}  // namespace

bool is_defined_for(GroupEstimator estimator, double reward) {
  if (estimator == GroupEstimator::kPassAtK) return reward == 0 || reward == 1;
  return estimator != GroupEstimator::kMaxRl || !(reward < 0);
}

GroupEstimator group_estimator_named(std::string_view name) {
  static const std::map<std::string_view, GroupEstimator> kNames = {
      {"grpo", GroupEstimator::kStandardised},
      {"dr_grpo", GroupEstimator::kMeanOnly},
      {"rloo", GroupEstimator::kLeaveOneOut},
      {"opo", GroupEstimator::kLengthWeighted},
      {"maxrl", GroupEstimator::kMaxRl},
      {"pass_at_k", GroupEstimator::kPassAtK},
      {"leave_one_out_max", GroupEstimator::kLeaveOneOutMax}};
  const auto found = kNames.find(name);
  if (found != kNames.end()) return found->second;
  throw ConfigError("estimator of a group's advantages",
                    {.expected = "grpo, dr_grpo, rloo, opo, maxrl, pass_at_k, leave_one_out_max",
                     .got = std::string(name),
                     .advice = {}});
}

StdScope std_scope_named(std::string_view name) {
  if (name == "group") return StdScope::kGroup;
  if (name == "batch") return StdScope::kBatch;
  throw ConfigError("whose deviation",
                    {.expected = "group or batch", .got = std::string(name), .advice = {}});
}

Variance variance_named(std::string_view name) {
  if (name == "population") return Variance::kPopulation;
  if (name == "sample") return Variance::kUnbiased;
  throw ConfigError("kind of deviation",
                    {.expected = "population or sample", .got = std::string(name), .advice = {}});
}

std::vector<int32_t> group_sizes_of(const data::NestedLengths& tokens) {
  std::vector<int32_t> sizes;
  for (size_t i = 0; i < tokens.size(); ++i) {
    sizes.push_back(static_cast<int32_t>(tokens.of(i).size()));
  }
  return sizes;
}

EpsMode eps_mode_named(std::string_view name) {
  if (name == "added_to_std") return EpsMode::kAddedToStd;
  if (name == "added_to_variance") return EpsMode::kAddedToVariance;
  if (name == "variance_floor") return EpsMode::kVarianceFloor;
  throw ConfigError("use of epsilon", {.expected = "added_to_std, added_to_variance or "
                                                   "variance_floor",
                                       .got = std::string(name),
                                       .advice = {}});
}

SingleAnswer single_answer_named(std::string_view name) {
  if (name == "zero") return SingleAnswer::kZero;
  if (name == "keep_reward") return SingleAnswer::kKeepsReward;
  throw ConfigError("advantage of a single answer",
                    {.expected = "zero or keep_reward", .got = std::string(name), .advice = {}});
}

at::Tensor group_advantages(const at::Tensor& rewards, const std::vector<int32_t>& group_sizes,
                            const at::Tensor& kept, const GroupOptions& options,
                            comm::Communicator* ranks, const std::vector<int32_t>& lengths) {
  const Groups groups = groups_of(rewards, group_sizes, kept);
  const at::Tensor wide = rewards.to(at::kDouble).contiguous();
  const double* reward = wide.const_data_ptr<double>();
  check_finite(groups, reward);
  check_options(options, lengths, rewards.numel());
  check_domain(groups, reward, options);

  double divisor_of_batch = 1;
  const bool is_divided = options.estimator == GroupEstimator::kStandardised;
  if (is_divided && options.scope == StdScope::kBatch) {
    divisor_of_batch =
        divisor_of(moments_of(joined(groups), reward, ranks).variance(options.variance), options);
  }

  at::Tensor result = at::zeros({rewards.numel()}, at::kDouble);
  double* advantage = result.mutable_data_ptr<double>();
  for (const std::vector<int64_t>& group : groups) {
    if (group.size() == 1 && options.estimator == GroupEstimator::kLeaveOneOut &&
        options.single_answer == SingleAnswer::kKeepsReward) {
      advantage[group.front()] = reward[group.front()];
    }
    if (group.empty() || is_uniform(group, reward)) continue;
    const Comparison compared = comparison_of(group, reward, lengths, options);
    double divisor = compared.divisor;
    if (is_divided && options.scope == StdScope::kBatch) divisor = divisor_of_batch;
    for (const int64_t i : group) {
      const double difference =
          compared.differences.empty() ? reward[i] - compared.baseline : compared.differences.at(i);
      advantage[i] = divisor != 0 ? difference / divisor : 0;
    }
  }
  return result;
}

at::Tensor weighted_rewards(const std::vector<at::Tensor>& rewards,
                            const std::vector<double>& weights) {
  check_functions(rewards, weights);
  at::Tensor sum = weights[0] * rewards[0].to(at::kDouble);
  for (size_t f = 1; f < rewards.size(); ++f) sum += weights[f] * rewards[f].to(at::kDouble);
  return sum;
}

at::Tensor standardised(const at::Tensor& x, const at::Tensor& kept, const GroupOptions& options,
                        comm::Communicator* ranks) {
  const at::Tensor wide = x.to(at::kDouble).contiguous();
  const double* value = wide.const_data_ptr<double>();
  const std::vector<int64_t> places = groups_of(x, {static_cast<int32_t>(x.numel())}, kept).front();
  at::Tensor result = at::zeros({x.numel()}, at::kDouble);
  const bool is_equal = is_uniform_over(places, value, ranks);
  const Moments moments = moments_of(places, value, ranks);
  if (is_equal) return result;
  const double divisor = divisor_of(moments.variance(options.variance), options);
  double* out = result.mutable_data_ptr<double>();
  for (const int64_t i : places) out[i] = divisor > 0 ? (value[i] - moments.mean) / divisor : 0;
  return result;
}

at::Tensor decoupled_group_advantages(const std::vector<at::Tensor>& rewards,
                                      const std::vector<double>& weights,
                                      const std::vector<int32_t>& group_sizes,
                                      const at::Tensor& kept, const GroupOptions& options,
                                      comm::Communicator* ranks) {
  check_functions(rewards, weights);
  GroupOptions in_group = options;
  in_group.estimator = GroupEstimator::kStandardised;
  in_group.scope = StdScope::kGroup;
  std::vector<at::Tensor> of_function;
  for (const at::Tensor& each : rewards) {
    of_function.push_back(group_advantages(each, group_sizes, kept, in_group));
  }
  return standardised(weighted_rewards(of_function, weights), kept, options, ranks);
}

}  // namespace orrery::algorithm
