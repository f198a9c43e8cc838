#include "orrery/algorithm/preference_losses.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numeric>

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
  const at::Tensor table = per_sequence.view({per_sequence.numel() / 2, 2});
  return {table.select(1, 0), table.select(1, 1)};
}

void record_accuracy(metrics::Statistics& statistics, const Pairs& pairs) {
  statistics.mean("accuracy", pairs.chosen.gt(pairs.rejected).sum().item<double>(),
                  static_cast<double>(pairs.chosen.numel()));
  statistics.sum("n_pairs", static_cast<double>(pairs.chosen.numel()));
}

double sum_of(const at::Tensor& numbers) {
  return numbers.detach().to(at::kDouble).sum().item<double>();
}

void check_input(const PairwiseInput& input, const PairwiseOptions& options) {
  if (!std::isfinite(options.centering_coef) || options.centering_coef < 0) {
    throw ConfigError(
        "option centering_coef",
        {.expected = "0 or more", .got = base::concat(options.centering_coef), .advice = {}});
  }
  const int64_t n_pairs = pairs_of(input.scores).chosen.numel();
  const int64_t n_given = std::accumulate(input.pairs.begin(), input.pairs.end(), int64_t{0});
  if (n_given != n_pairs) {
    throw ShapeError(
        "pairs of the samples",
        {.expected = base::counted(n_pairs, "pair"), .got = base::concat(n_given), .advice = {}});
  }
  if (input.margins.defined()) {
    check_size("margins", input.margins, n_pairs);
    refuse_nonfinite("margins", input.margins);
  }
  if (options.nonfinite == NonfiniteInput::kRefuse) refuse_nonfinite("scores", input.scores);
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

at::Tensor last_of_each(const at::Tensor& per_token, const std::vector<int32_t>& lengths) {
  std::vector<int64_t> rows;
  int64_t end = 0;
  for (const int32_t n : lengths) rows.push_back((end += n) - 1);
  return per_token.index_select(0, at::tensor(rows, at::kLong));
}

PairwiseLoss pairwise_loss(const PairwiseInput& input, const PairwiseOptions& options) {
  check_input(input, options);
  const Pairs both = pairs_of(input.scores);
  std::vector<double> weights;
  for (const int32_t n : input.pairs) {
    weights.insert(weights.end(), static_cast<size_t>(n), 1.0 / n);
  }
  PairwiseLoss loss;
  at::Tensor ahead = both.chosen - both.rejected;
  if (input.margins.defined()) ahead = ahead - input.margins;
  loss.per_pair = -at::log_sigmoid(ahead);
  at::Tensor costs = loss.per_pair;
  if (options.centering_coef != 0) {
    costs = costs + options.centering_coef * (both.chosen + both.rejected).square();
  }
  loss.result.loss_sum =
      (costs * at::tensor(weights, input.scores.options().requires_grad(false))).sum();

  const at::Tensor everywhere;
  const Pairs seen = pairs_of(input.scores.detach());
  metrics::Statistics& statistics = loss.result.statistics;
  record_accuracy(statistics, seen);
  record_spread(statistics, "chosen_score", seen.chosen, everywhere);
  record_spread(statistics, "rejected_score", seen.rejected, everywhere);
  const auto n = static_cast<double>(seen.chosen.numel());
  statistics.mean("score_margin", sum_of(seen.chosen - seen.rejected), n);
  statistics.mean("score", sum_of(input.scores), 2 * n);
  return loss;
}

metrics::Statistics pair_accuracy(const at::Tensor& per_sequence) {
  const Pairs pairs = pairs_of(per_sequence);
  metrics::Statistics statistics;
  const auto n = static_cast<double>(pairs.chosen.numel());
  statistics.mean("preference_accuracy", pairs.chosen.gt(pairs.rejected).sum().item<double>(), n);
  statistics.sum("n_pairs", n);
  return statistics;
}

}  // namespace orrery::algorithm
