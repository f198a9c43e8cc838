#include "orrery/algorithm/group_advantages.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "orrery/base/error.h"
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

}  // namespace

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
                            comm::Communicator* ranks) {
  const Groups groups = groups_of(rewards, group_sizes, kept);
  const at::Tensor wide = rewards.to(at::kDouble).contiguous();
  const double* reward = wide.const_data_ptr<double>();
  check_finite(groups, reward);

  double divisor_of_batch = 1;
  const bool is_divided = options.estimator == GroupEstimator::kStandardised;
  if (is_divided && options.scope == StdScope::kBatch) {
    std::vector<int64_t> all;
    for (const auto& group : groups) all.insert(all.end(), group.begin(), group.end());
    divisor_of_batch =
        divisor_of(moments_of(all, reward, ranks).variance(options.variance), options);
  }

  at::Tensor result = at::zeros({rewards.numel()}, at::kDouble);
  double* advantage = result.mutable_data_ptr<double>();
  for (const std::vector<int64_t>& group : groups) {
    if (group.size() == 1 && options.estimator == GroupEstimator::kLeaveOneOut &&
        options.single_answer == SingleAnswer::kKeepsReward) {
      advantage[group.front()] = reward[group.front()];
    }
    if (group.empty() || is_uniform(group, reward)) continue;
    const Moments moments = moments_of(group, reward, nullptr);
    double divisor = 1;
    if (is_divided) {
      divisor = options.scope == StdScope::kBatch
                    ? divisor_of_batch
                    : divisor_of(moments.variance(options.variance), options);
    }
    for (const int64_t i : group) {
      double difference = reward[i] - moments.mean;
      // The mean of the others is mean - difference / (n - 1).
      if (options.estimator == GroupEstimator::kLeaveOneOut) {
        difference *= moments.count / (moments.count - 1);
      }
      advantage[i] = divisor > 0 ? difference / divisor : 0;
    }
  }
  return result;
}

}  // namespace orrery::algorithm
