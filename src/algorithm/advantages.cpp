#include "orrery/algorithm/advantages.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/kernels/gae.h"

namespace orrery::algorithm {

namespace {

void check_rows(const char* what, const at::Tensor& tensor, int64_t rows) {
  if (tensor.numel() == rows) return;
  throw ShapeError(
      base::concat(what, " has another size than the sequences"),
      {.expected = base::concat(rows), .got = base::concat(tensor.numel()), .advice = {}});
}

int64_t total(const std::vector<int32_t>& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
}

/// [N] lengths -> [N] lengths of actions.
at::Tensor action_counts(const std::vector<int32_t>& lengths) {
  return at::tensor(lengths, at::kLong) - 1;
}

}  // namespace

at::Tensor action_mask(const at::Tensor& prompt_mask, const std::vector<int32_t>& lengths) {
  check_rows("prompt_mask", prompt_mask, total(lengths));
  const at::Tensor tokens = prompt_mask.to(at::kBool).contiguous();
  const int64_t n_actions = total(lengths) - static_cast<int64_t>(lengths.size());
  at::Tensor mask = at::empty({n_actions}, at::kBool);
  const bool* in = tokens.const_data_ptr<bool>();
  bool* out = mask.mutable_data_ptr<bool>();
  for (const int32_t n : lengths) {
    for (int32_t t = 1; t < n; ++t) *out++ = !in[t];
    in += n;
  }
  return mask;
}

at::Tensor per_action(const at::Tensor& per_sequence, const std::vector<int32_t>& lengths) {
  check_rows("a value per sequence", per_sequence, static_cast<int64_t>(lengths.size()));
  return at::repeat_interleave(per_sequence, action_counts(lengths));
}

ActionRewards action_rewards(const RewardInput& input, const RewardOptions& options,
                             const std::vector<int32_t>& lengths) {
  const auto n = static_cast<int64_t>(lengths.size());
  check_rows("log_probs", input.log_probs, total(lengths) - n);
  check_rows("no_eos", input.no_eos, n);
  if (input.ref_log_probs.defined()) {
    check_rows("ref_log_probs", input.ref_log_probs, input.log_probs.numel());
  }
  if (input.dense_scores.defined()) {
    check_rows("dense_scores", input.dense_scores, total(lengths));
  } else {
    check_rows("scores", input.scores, n);
  }

  ActionRewards result;
  result.kl_rewards = input.ref_log_probs.defined()
                          ? -options.kl_coef * bounded(input.log_probs - input.ref_log_probs,
                                                       options.log_ratio_limit)
                          : at::zeros_like(input.log_probs);
  result.rewards = result.kl_rewards.to(at::kFloat).clone();
  float* rewards = result.rewards.mutable_data_ptr<float>();
  const at::Tensor no_eos = input.no_eos.to(at::kBool).contiguous();
  const bool* is_cut = no_eos.const_data_ptr<bool>();
  const at::Tensor unbounded =
      (input.dense_scores.defined() ? input.dense_scores : input.scores).to(at::kFloat);
  const at::Tensor scores = bounded(unbounded, options.clip).contiguous();
  const float* score = scores.const_data_ptr<float>();
  for (int64_t i = 0; i < n; ++i) {
    const int32_t actions = lengths[base::index(i)] - 1;
    const bool counts = !(options.mask_no_eos_with_zero && is_cut[i]);
    if (input.dense_scores.defined()) {
      for (int32_t t = 0; t < actions; ++t) {
        rewards[t] += score[t + 1] - (options.reward_delta ? score[t] : 0);
      }
      score += actions + 1;
    } else if (counts && actions > 0) {
      rewards[actions - 1] += score[i];
    }
    rewards += actions;
  }
  return result;
}

Advantages estimate_advantages(const at::Tensor& rewards, const at::Tensor& values,
                               const at::Tensor& no_eos, const std::vector<int32_t>& lengths,
                               double discount, double gae_lambda) {
  check_rows("rewards", rewards, total(lengths) - static_cast<int64_t>(lengths.size()));
  check_rows("values", values, total(lengths));
  std::vector<int32_t> offsets = {0};
  for (const int32_t n : lengths) offsets.push_back(offsets.back() + n - 1);
  const at::Tensor cut = no_eos.to(at::kBool).contiguous();
  const at::Tensor value = values.to(rewards.scalar_type()).contiguous();
  const at::Tensor reward = rewards.contiguous();
  Advantages result{at::empty_like(reward), at::empty_like(reward)};
  AT_DISPATCH_FLOATING_TYPES(reward.scalar_type(), "gae", [&] {
    kernels::gae<scalar_t>({.rewards = reward.const_data_ptr<scalar_t>(),
                            .values = value.const_data_ptr<scalar_t>(),
                            .cu_seqlens = offsets.data(),
                            .bootstrap = cut.const_data_ptr<bool>(),
                            .advantages = result.advantages.mutable_data_ptr<scalar_t>(),
                            .returns = result.returns.mutable_data_ptr<scalar_t>(),
                            .n_sequences = static_cast<int64_t>(lengths.size()),
                            .gamma = discount,
                            .lambda = gae_lambda});
  });
  return result;
}

at::Tensor bounded(const at::Tensor& x, double limit) {
  return limit > 0 ? x.clamp(-limit, limit) : x;
}

namespace {

/// Sums over the ranks of the group, if there is one.
std::vector<double> sums_over(comm::Communicator* group, const std::vector<double>& own) {
  if (group == nullptr || group->size() == 1) return own;
  at::Tensor sums = at::tensor(own, at::kDouble);
  group->all_reduce(sums, comm::ReduceOp::kSum);
  return {sums.const_data_ptr<double>(), sums.const_data_ptr<double>() + own.size()};
}

}  // namespace

at::Tensor masked_normalization(const at::Tensor& x, const at::Tensor& mask,
                                comm::Communicator* group, Variance variance, double eps) {
  const at::Tensor counted = mask.defined() ? mask.to(at::kBool) : at::ones_like(x, at::kBool);
  const at::Tensor wide = at::where(counted, x.to(at::kDouble), 0.0);
  const at::ScalarType type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const std::vector<double> first =
      sums_over(group, {wide.sum().item<double>(), counted.sum().item<double>()});
  const double count = first[1];
  if (count == 0) return at::zeros_like(x, type);
  // In two passes, each from the mean before it: E[x^2] - mean^2 loses the digits of a small
  // deviation from a large mean, and the rounding of the mean itself shows where values are equal.
  double mean = first[0] / count;
  at::Tensor from_mean = at::where(counted, wide - mean, 0.0);
  mean += sums_over(group, {from_mean.sum().item<double>()})[0] / count;
  from_mean = wide - mean;
  const at::Tensor deviations = at::where(counted, from_mean, 0.0);
  const double squares = sums_over(group, {deviations.square().sum().item<double>()})[0];
  const double divisor = variance == Variance::kUnbiased ? count - 1 : count;
  const double std = divisor > 0 ? std::sqrt(squares / divisor) : 0;
  return (from_mean / (std + eps)).to(type);
}

at::Tensor normalize_by_group(const at::Tensor& x, const at::Tensor& mask,
                              const data::NestedLengths& tokens) {
  std::vector<at::Tensor> groups;
  int64_t begin = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int64_t actions = tokens.total(i) - static_cast<int64_t>(tokens.of(i).size());
    groups.push_back(
        masked_normalization(x.narrow(0, begin, actions), mask.narrow(0, begin, actions)));
    begin += actions;
  }
  return groups.empty() ? x : at::cat(groups);
}

}  // namespace orrery::algorithm
