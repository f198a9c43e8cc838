#include "orrery/algorithm/policy_batch.h"

#include <numeric>

#include "orrery/algorithm/masked_statistics.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"

namespace orrery::algorithm {

at::Tensor without_final_values(const at::Tensor& values, const at::Tensor& no_eos,
                                const std::vector<int32_t>& lengths) {
  at::Tensor result = values.contiguous().clone();
  const at::Tensor cut = no_eos.to(at::kBool).contiguous();
  int64_t end = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    end += lengths[i];
    if (!cut.const_data_ptr<bool>()[i]) result.narrow(0, end - 1, 1).zero_();
  }
  return result;
}

at::Tensor without_last(const at::Tensor& per_token, const std::vector<int32_t>& lengths) {
  std::vector<at::Tensor> kept;
  int64_t begin = 0;
  for (const int32_t n : lengths) {
    kept.push_back(per_token.narrow(0, begin, n - 1));
    begin += n;
  }
  return kept.empty() ? per_token : at::cat(kept);
}

PolicyBatch prepare_policy_batch(const PolicyInput& input, const PolicyOptions& options) {
  const std::vector<int32_t>& lengths = input.lengths;
  const at::Tensor no_eos = input.no_eos.to(at::kBool);

  PolicyBatch batch;
  batch.mask = action_mask(input.prompt_mask, lengths);
  if (options.mask_too_long) {
    batch.mask = batch.mask.logical_and(per_action(no_eos, lengths).logical_not());
  }
  for (const at::Tensor& answers : {input.kept, input.selected}) {
    if (answers.defined()) batch.mask = batch.mask.logical_and(per_action(answers, lengths));
  }
  // Not by a product: 0 times what is not finite is NaN.
  batch.log_probs = at::where(batch.mask, input.log_probs, 0.0);
  if (input.ref_log_probs.defined()) {
    batch.ref_log_probs = at::where(batch.mask, input.ref_log_probs, 0.0);
  }

  const ActionRewards rewards = action_rewards({.log_probs = batch.log_probs,
                                                .ref_log_probs = batch.ref_log_probs,
                                                .scores = input.scores,
                                                .dense_scores = input.dense_scores,
                                                .no_eos = no_eos},
                                               options.rewards, lengths);
  batch.kl_rewards = rewards.kl_rewards;
  batch.rewards = rewards.rewards;

  const int64_t n_tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  batch.values = input.values.defined()
                     ? without_final_values(input.values.to(at::kFloat), no_eos, lengths)
                     : at::zeros({n_tokens}, at::kFloat);
  const Advantages estimated = estimate_advantages(batch.rewards, batch.values, no_eos, lengths,
                                                   options.discount, options.gae_lambda);
  batch.advantages = estimated.advantages;
  batch.returns = estimated.returns;
  return batch;
}

metrics::Statistics policy_statistics(const PolicyInput& input, const PolicyBatch& batch) {
  const auto n = static_cast<int64_t>(input.lengths.size());
  const at::Tensor lengths = at::tensor(input.lengths, at::kDouble);
  at::Tensor prompt_lengths = at::empty({n}, at::kDouble);
  at::Tensor rewards = at::empty({n}, at::kDouble);
  int64_t token = 0;
  int64_t action = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t length = input.lengths[base::index(i)];
    prompt_lengths[i] = input.prompt_mask.narrow(0, token, length).sum();
    rewards[i] = batch.rewards.narrow(0, action, length - 1).sum();
    token += length;
    action += length - 1;
  }
  metrics::Statistics statistics;
  const at::Tensor kept = input.kept.defined() ? input.kept : at::ones({n}, at::kBool);
  if (input.selected.defined()) {
    record_spread(statistics, "selected_ratio", input.selected, kept);
  }
  if (input.scores.defined()) {
    const at::Tensor is_correct = input.scores.gt(0);
    record_spread(statistics, "task_reward", input.scores, kept);
    record_spread(statistics, "correct_seq_len", lengths, is_correct.logical_and(kept));
    record_spread(statistics, "incorrect_seq_len", lengths,
                  is_correct.logical_not().logical_and(kept));
  }
  record_spread(statistics, "seq_len", lengths, kept);
  record_spread(statistics, "prompt_len", prompt_lengths, kept);
  record_spread(statistics, "no_eos_ratio", input.no_eos, kept);
  record_spread(statistics, "reward", rewards, kept);
  if (batch.ref_log_probs.defined()) {
    record_spread(statistics, "kl_reward", batch.kl_rewards, batch.mask);
  }
  const auto n_kept = kept.sum().item<double>();
  statistics.sum("n_seqs", n_kept);
  statistics.sum("left_out_answers", static_cast<double>(n) - n_kept);
  return statistics;
}

}  // namespace orrery::algorithm
