#include "orrery/algorithm/preference_losses.h"

#include <ATen/ATen.h>

#include "orrery/algorithm/masked_statistics.h"
#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

struct Pairs {
  at::Tensor chosen;    // [N / 2]
  at::Tensor rejected;  // [N / 2]
};

Pairs pairs_of(const at::Tensor& per_sequence) {
  if (per_sequence.numel() % 2 != 0) {
    throw ShapeError("sequences do not form pairs", {.expected = "chosen, rejected, chosen, ...",
                                                     .got = base::concat(per_sequence.numel()),
                                                     .advice = {}});
  }
  const at::Tensor table = per_sequence.view({-1, 2});
  return {table.select(1, 0), table.select(1, 1)};
}

void record_accuracy(metrics::Statistics& statistics, const Pairs& pairs) {
  statistics.mean("accuracy", pairs.chosen.gt(pairs.rejected).sum().item<double>(),
                  static_cast<double>(pairs.chosen.numel()));
  statistics.sum("n_pairs", static_cast<double>(pairs.chosen.numel()));
}

}  // namespace

void check_pairs(const data::SequenceBatch& batch) {
  const data::NestedLengths& tokens = batch.meta.at("packed_input_ids").lengths;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens.of(i).size() % 2 == 0 && !tokens.of(i).empty()) continue;
    throw CallError(base::concat("sample ", batch.meta.ids[i].value, " has no pairs of answers"),
                    {.expected = "chosen, rejected, chosen, ...",
                     .got = base::counted(tokens.of(i).size(), "sequence"),
                     .advice = "use a data set of kind preferences"});
  }
}

at::Tensor sums_by_sequence(const at::Tensor& per_action, const at::Tensor& mask,
                            const std::vector<int32_t>& lengths) {
  std::vector<at::Tensor> sums;
  const at::Tensor kept = at::where(mask, per_action, 0.0);
  int64_t begin = 0;
  for (const int32_t n : lengths) {
    sums.push_back(kept.narrow(0, begin, n - 1).sum());
    begin += n - 1;
  }
  return sums.empty() ? per_action.narrow(0, 0, 0) : at::stack(sums);
}

parallel::LossResult dpo_loss(const at::Tensor& log_probs, const at::Tensor& ref_log_probs,
                              double beta) {
  const at::Tensor ratio = log_probs - ref_log_probs;
  const Pairs ratios = pairs_of(ratio);
  parallel::LossResult result;
  result.loss_sum = -at::log_sigmoid(beta * (ratios.chosen - ratios.rejected)).sum();

  const Pairs rewards = pairs_of(beta * ratio.detach());
  const at::Tensor everywhere;
  record_accuracy(result.statistics, rewards);
  record_spread(result.statistics, "chosen_reward", rewards.chosen, everywhere);
  record_spread(result.statistics, "rejected_reward", rewards.rejected, everywhere);
  result.statistics.mean("ref_kl", -ratio.detach().sum().item<double>(),
                         static_cast<double>(ratio.numel()));
  return result;
}

at::Tensor last_of_each(const at::Tensor& per_token, const std::vector<int32_t>& lengths) {
  std::vector<int64_t> rows;
  int64_t end = 0;
  for (const int32_t n : lengths) rows.push_back((end += n) - 1);
  return per_token.index_select(0, at::tensor(rows, at::kLong));
}

parallel::LossResult pairwise_loss(const at::Tensor& scores, const std::vector<int32_t>& pairs) {
  const Pairs both = pairs_of(scores);
  std::vector<double> weights;
  for (const int32_t n : pairs) weights.insert(weights.end(), static_cast<size_t>(n), 1.0 / n);
  parallel::LossResult result;
  result.loss_sum = -(at::log_sigmoid(both.chosen - both.rejected) *
                      at::tensor(weights, scores.options().requires_grad(false)))
                         .sum();

  const at::Tensor everywhere;
  const Pairs seen = pairs_of(scores.detach());
  record_accuracy(result.statistics, seen);
  record_spread(result.statistics, "chosen_score", seen.chosen, everywhere);
  record_spread(result.statistics, "rejected_score", seen.rejected, everywhere);
  return result;
}

metrics::Statistics pair_accuracy(const at::Tensor& per_sequence) {
  const Pairs pairs = pairs_of(per_sequence);
  metrics::Statistics statistics;
  statistics.mean("eval/accuracy", pairs.chosen.gt(pairs.rejected).sum().item<double>(),
                  static_cast<double>(pairs.chosen.numel()));
  return statistics;
}

}  // namespace orrery::algorithm
