#include "orrery/algorithm/advantages.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
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
    const int32_t actions = lengths[static_cast<size_t>(i)] - 1;
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

at::Tensor masked_normalization(const at::Tensor& x, const at::Tensor& mask,
                                comm::Communicator* group, Variance variance, double eps) {
  at::Tensor wide = x.to(at::kDouble);
  if (mask.defined()) wide = at::where(mask.to(at::kBool), wide, 0.0);
  const double count = mask.defined() ? mask.sum().item<double>() : static_cast<double>(x.numel());
  at::Tensor sums = at::tensor(
      {wide.sum().item<double>(), wide.square().sum().item<double>(), count}, at::kDouble);
  if (group != nullptr && group->size() > 1) group->all_reduce(sums, comm::ReduceOp::kSum);
  const double* all = sums.const_data_ptr<double>();
  const at::ScalarType type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const double factor = all[2];
  if (factor == 0) return at::zeros_like(x, type);
  const double mean = all[0] / factor;
  double spread = all[1] / factor - mean * mean;
  // Rounding can leave a difference of equal numbers slightly below 0, or above it: neither is a
  // variance. What lies within the rounding of the squares is 0.
  if (spread < 1e-14 * (all[1] / factor)) spread = 0;
  if (variance == Variance::kUnbiased) spread = factor > 1 ? spread * factor / (factor - 1) : 0;
  return ((wide - mean) / (std::sqrt(spread) + eps)).to(type);
}

at::Tensor normalize_by_group(const at::Tensor& x, const at::Tensor& mask,
                              const std::vector<int32_t>& lengths, int64_t group_size) {
  const auto n = static_cast<int64_t>(lengths.size());
  if (group_size < 1 || n % group_size != 0) {
    throw ShapeError(
        "normalisation by group",
        {.expected = base::concat("a multiple of ", base::counted(group_size, "sequence")),
         .got = base::concat(n),
         .advice = {}});
  }
  std::vector<at::Tensor> parts;
  int64_t begin = 0;
  for (int64_t first = 0; first < n; first += group_size) {
    int64_t actions = 0;
    for (int64_t i = first; i < first + group_size; ++i) {
      actions += lengths[static_cast<size_t>(i)] - 1;
    }
    parts.push_back(
        masked_normalization(x.narrow(0, begin, actions), mask.narrow(0, begin, actions)));
    begin += actions;
  }
  return parts.empty() ? x.clone() : at::cat(parts);
}

}  // namespace orrery::algorithm
