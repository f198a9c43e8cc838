#include "orrery/parallel/train_engine.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/data/partition.h"
#include "orrery/model/packed_tokens.h"

namespace orrery::parallel {

std::vector<data::SequenceBatch> micro_batches(const data::SequenceBatch& batch,
                                               const MicroBatchLimits& limits) {
  if (batch.size() == 0) return {};
  const data::KeyMetadata& tokens = batch.meta.at("packed_input_ids");
  std::vector<int64_t> weights(batch.size());
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = tokens.lengths.total(i);

  // A sample over the budget cannot be cut: the budget grows to it, and the log says so once.
  int64_t budget = limits.max_tokens > 0 ? limits.max_tokens : data::kNoCapacity;
  const int64_t longest = *std::max_element(weights.begin(), weights.end());
  if (longest > budget) {
    base::log_warning(base::concat("a sample of ", longest, " tokens is over the limit of ", budget,
                                   " tokens of a micro-batch; it is taken whole"));
    budget = longest;
  }
  const int min_parts = static_cast<int>(std::min<int64_t>(std::max<int64_t>(limits.min_parts, 1),
                                                           static_cast<int64_t>(batch.size())));
  const data::TokenSplit split =
      data::plan_token_split(weights, {.min_parts = min_parts, .max_tokens = budget});
  if (split.parts.size() == 1) return {batch};
  std::vector<data::SequenceBatch> parts;
  for (const std::vector<int>& part : split.parts) parts.push_back(batch.select_samples(part));
  return parts;
}

TrainEngine::TrainEngine(model::Decoder& decoder, OptimizerOptions options,
                         comm::Communicator& data_group)
    : decoder_(decoder),
      options_(std::move(options)),
      data_group_(data_group),
      optimizer_(decoder.parameters(), options_.adamw) {
  learning_rate(options_.schedule, 0);  // a schedule that cannot be is an error now, not later
}

namespace {

/// What the ranks must agree on before the optimizer may move: summed over them in one message.
struct Totals {
  double weight = 0;
  double loss = 0;
  double tokens = 0;
};

Totals sum_over_ranks(const Totals& own, comm::Communicator& group) {
  if (group.size() == 1) return own;
  at::Tensor sums = at::tensor({own.weight, own.loss, own.tokens}, at::kDouble);
  group.all_reduce(sums, comm::ReduceOp::kSum);
  const double* values = sums.const_data_ptr<double>();
  return {values[0], values[1], values[2]};
}

/// Reduced in pieces, so that a piece is still in cache when its ranks add it.
void sum_gradients(at::Tensor gradients, comm::Communicator& group) {
  constexpr int64_t kBucketElements = int64_t{8} << 20;
  if (group.size() == 1) return;
  for (int64_t begin = 0; begin < gradients.numel(); begin += kBucketElements) {
    at::Tensor bucket =
        gradients.narrow(0, begin, std::min(kBucketElements, gradients.numel() - begin));
    group.all_reduce(bucket, comm::ReduceOp::kSum);
  }
}

}  // namespace

metrics::Statistics TrainEngine::step(const data::SequenceBatch& minibatch, double temperature,
                                      double loss_weight, const LossFunction& loss,
                                      const MicroBatchLimits& limits) {
  model::FlatParameters& parameters = decoder_.parameters();
  at::Tensor gradients = parameters.gradients();
  parameters.zero_gradients();

  metrics::Statistics statistics;
  Totals own{.weight = loss_weight};
  for (const data::SequenceBatch& part : micro_batches(minibatch, limits)) {
    const data::NestedLengths& lengths = part.meta.at("packed_input_ids").lengths;
    const model::PackedTokens tokens =
        model::pack_tokens(part.at("packed_input_ids"), lengths.flat());
    const LossResult result = loss(decoder_.log_probs(tokens, temperature), part);
    own.loss += result.loss_sum.item<double>();
    own.tokens += static_cast<double>(tokens.size());
    statistics.merge(result.statistics);
    if (result.loss_sum.requires_grad()) result.loss_sum.backward();
  }

  // One order of collectives whatever the ranks' data: totals, then gradients, then nothing more;
  // what follows is computed from sums that are the same on all ranks.
  const Totals all = sum_over_ranks(own, data_group_);
  sum_gradients(gradients, data_group_);
  const double lr = learning_rate(options_.schedule, steps_done_);
  const double norm = all.weight > 0 ? gradients.norm().item<double>() / all.weight : 0;
  const bool is_finite = std::isfinite(norm) && std::isfinite(all.loss);
  const bool moves = all.weight > 0 && is_finite;
  // These are the same on every rank: only the first one records them, so that merging over ranks
  // counts each step once.
  if (data_group_.rank() == 0) {
    statistics.sum("skipped_steps", moves ? 0 : 1);
    statistics.sum("n_tokens", all.tokens);
    statistics.scalar("lr", lr);
    if (all.weight > 0) statistics.scalar("loss", all.loss / all.weight);
    if (all.weight > 0) statistics.scalar("grad_norm", norm);
  }
  if (!moves) {
    base::log_warning(base::concat(
        "optimizer step ", steps_done_, " skipped: ",
        all.weight > 0 ? "loss or gradient is not finite" : "no token has any weight"));
    return statistics;
  }
  double scale = 1 / all.weight;
  if (options_.max_grad_norm > 0 && norm > options_.max_grad_norm) {
    scale *= options_.max_grad_norm / norm;
  }
  optimizer_.step(lr, scale);
  ++steps_done_;
  return statistics;
}

}  // namespace orrery::parallel
