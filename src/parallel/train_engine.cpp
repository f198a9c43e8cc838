#include "orrery/parallel/train_engine.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "orrery/base/error.h"
#include "orrery/base/fault.h"
#include "orrery/base/index.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/data/partition.h"
#include "orrery/model/on_host.h"
#include "orrery/model/packed_tokens.h"
#include "orrery/parallel/gradient_reduction.h"
#include "orrery/parallel/pipeline.h"
#include "step_loss.h"

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
  const std::vector<std::vector<int>> split =
      data::plan_token_split(weights, {.min_parts = min_parts, .max_tokens = budget});
  if (split.size() == 1) return {batch};
  std::vector<data::SequenceBatch> parts;
  for (const std::vector<int>& part : split) parts.push_back(batch.select_samples(part));
  return parts;
}

OnNonfinite on_nonfinite_named(std::string_view name) {
  if (name == "skip") return OnNonfinite::kSkip;
  if (name == "stop") return OnNonfinite::kStop;
  throw ConfigError("what to do about a loss that is not finite",
                    {.expected = "skip or stop", .got = std::string(name), .advice = {}});
}

TrainEngine::TrainEngine(model::Decoder& decoder, OptimizerOptions options, ReplicaGroups groups)
    : decoder_(decoder),
      options_(std::move(options)),
      groups_(groups),
      optimizer_(
          decoder.parameters(), options_.adamw,
          owned_partition(decoder.parameters().numel(), groups.data->rank(), groups.data->size())) {
  if (options_.bf16_gradients) decoder.parameters().store_gradients_in_bf16();
  learning_rate(options_.schedule, 0);  // a schedule that cannot be is an error now, not later
}

bool TrainEngine::is_on_gpu() const { return decoder_.parameters().values().is_cuda(); }

bool TrainEngine::is_dp_head() const {
  const model::ShardPlace& place = decoder_.shard().place;
  return place.is_last_stage() && place.tensor == 0;
}

/// What the ranks must agree on before the optimizer may move: summed over them in one message.
struct TrainEngine::Totals {
  double weight = 0;
  double loss = 0;
  double tokens = 0;
  std::vector<double> watched = {};

  void sum_over(comm::Communicator& group) {
    if (group.size() == 1) return;
    std::vector<double> numbers = {weight, loss, tokens};
    numbers.insert(numbers.end(), watched.begin(), watched.end());
    at::Tensor sums = at::tensor(numbers, at::kDouble);
    group.all_reduce(sums, comm::ReduceOp::kSum);
    const double* all = sums.const_data_ptr<double>();
    weight = all[0];
    loss = all[1];
    tokens = all[2];
    std::copy_n(all + 3, watched.size(), watched.begin());
  }
};

TrainEngine::Totals TrainEngine::forward_backward(const data::SequenceBatch& minibatch,
                                                  StepLoss& loss, const MicroBatchLimits& limits,
                                                  size_t n_watched,
                                                  metrics::Statistics& statistics) {
  Totals own{.watched = std::vector<double>(n_watched)};
  const std::vector<data::SequenceBatch> parts = micro_batches(minibatch, limits);
  std::vector<model::PackedTokens> tokens;
  for (const data::SequenceBatch& part : parts) {
    const data::NestedLengths& lengths = part.meta.at("packed_input_ids").lengths;
    tokens.push_back(model::pack_tokens(part.at("packed_input_ids"), lengths.flat()));
  }
  const auto record = [&](const LossResult& result) {
    ORRERY_ASSERT(result.watched.size() == n_watched, "a watched number for each ceiling");
    own.loss += base::fault_value("train.loss", result.loss_sum.item<double>());
    for (size_t w = 0; w < n_watched; ++w) own.watched[w] += result.watched[w];
    statistics.merge(result.statistics);
  };
  train_micro_batches(decoder_, tokens, [&](int i, const at::Tensor& output) {
    const model::PackedTokens& packed = tokens[base::index(i)];
    own.tokens += static_cast<double>(packed.size());
    return loss.sum_of(packed, output, parts[base::index(i)], record);
  });
  loss.finish(record);
  return own;
}

/// Gradients are sums that the weight of all ranks divides at the end: so the balance loss has to
/// be a sum as well, whose mean over tokens is what was asked for.
void TrainEngine::weigh_balance(const data::SequenceBatch& minibatch, double loss_weight) {
  if (options_.balance_coefficient == 0 || decoder_.architecture().experts.count == 0) return;
  Totals all;
  if (is_dp_head() && minibatch.size() > 0) {
    all.weight = loss_weight;
    all.tokens = static_cast<double>(minibatch.at("packed_input_ids").size(0));
  }
  all.sum_over(*groups_.model);
  decoder_.set_balance_weight(
      all.tokens > 0 ? options_.balance_coefficient * all.weight / all.tokens : 0);
}

/// Norm of the summed gradients of the whole replica, the same bits on all shards: two that decide
/// differently would train different models from here on.
double TrainEngine::gradient_norm(const at::Tensor& owned) {
  const double square =
      counted_square_sum(owned, decoder_.parameters().table(), optimizer_.owned());
  if (groups_.model->size() == 1) return std::sqrt(square);
  at::Tensor all = at::empty({groups_.model->size()}, at::kDouble);
  groups_.model->all_gather(all, at::tensor({square}, at::kDouble));
  double sum = 0;
  for (int i = 0; i < groups_.model->size(); ++i) sum += all.const_data_ptr<double>()[i];
  return std::sqrt(sum);
}

metrics::Statistics TrainEngine::step(const data::SequenceBatch& minibatch, double temperature,
                                      double loss_weight, const LossFunction& loss,
                                      const MicroBatchLimits& limits) {
  return step(minibatch, temperature, loss_weight, loss, limits, {});
}

metrics::Statistics TrainEngine::step(const data::SequenceBatch& minibatch, double temperature,
                                      double loss_weight, const LossFunction& loss,
                                      const MicroBatchLimits& limits,
                                      std::span<const double> ceilings,
                                      const DeviceLossSum& on_device) {
  const auto numbers_of = [&](const model::PackedTokens& tokens, const at::Tensor& output) {
    return decoder_.architecture().value_head
               ? decoder_.head_values(tokens, output)
               : decoder_.head_log_probs(tokens, output, temperature);
  };
  if (on_device && is_on_gpu()) {
    const PolicyLossFunction of_numbers = [&](const model::LogProbs& said,
                                              const data::SequenceBatch& part) {
      return loss(said.log_probs, part);
    };
    LossOnDevice of_device(
        [&](const model::PackedTokens& tokens, const at::Tensor& output) {
          return model::LogProbs{.log_probs = numbers_of(tokens, output), .entropy = {}};
        },
        of_numbers, on_device);
    return step_by(minibatch, loss_weight, of_device, limits, ceilings);
  }
  const OutputLossFunction of_output = [&](const model::PackedTokens& tokens,
                                           const at::Tensor& output,
                                           const data::SequenceBatch& part) {
    return loss(model::on_host(numbers_of(tokens, output)), part);
  };
  LossOfOutputs of_outputs(of_output);
  return step_by(minibatch, loss_weight, of_outputs, limits, ceilings);
}

metrics::Statistics TrainEngine::step(const data::SequenceBatch& minibatch, double temperature,
                                      double loss_weight, const PolicyLossFunction& loss,
                                      const MicroBatchLimits& limits,
                                      std::span<const double> ceilings,
                                      model::EntropyGradient entropy,
                                      const DeviceLossSum& on_device) {
  const auto measure = [&](const model::PackedTokens& tokens, const at::Tensor& output) {
    return decoder_.head_measured_log_probs(tokens, output, temperature, entropy);
  };
  if (on_device && is_on_gpu()) {
    LossOnDevice of_device(measure, loss, on_device);
    return step_by(minibatch, loss_weight, of_device, limits, ceilings);
  }
  const OutputLossFunction of_output = [&](const model::PackedTokens& tokens,
                                           const at::Tensor& output,
                                           const data::SequenceBatch& part) {
    const model::LogProbs measured = measure(tokens, output);
    return loss({.log_probs = model::on_host(measured.log_probs),
                 .entropy = model::on_host(measured.entropy)},
                part);
  };
  LossOfOutputs of_outputs(of_output);
  return step_by(minibatch, loss_weight, of_outputs, limits, ceilings);
}

metrics::Statistics TrainEngine::step_on_output(const data::SequenceBatch& minibatch,
                                                double loss_weight, const OutputLossFunction& loss,
                                                const MicroBatchLimits& limits) {
  LossOfOutputs of_outputs(loss);
  return step_by(minibatch, loss_weight, of_outputs, limits, {});
}

metrics::Statistics TrainEngine::step_by(const data::SequenceBatch& minibatch, double loss_weight,
                                         StepLoss& loss, const MicroBatchLimits& limits,
                                         std::span<const double> ceilings) {
  decoder_.parameters().zero_gradients();
  weigh_balance(minibatch, loss_weight);
  metrics::Statistics statistics;
  Totals all = forward_backward(minibatch, loss, limits, ceilings.size(), statistics);
  all.weight = loss_weight;
  if (!is_dp_head()) all = Totals{.watched = std::vector<double>(ceilings.size())};
  all.sum_over(*groups_.model);

  std::string reason;
  bool is_stopped_early = false;
  if (all.weight <= 0) {
    reason = "no token has any weight";
  } else if (!std::isfinite(all.loss)) {
    reason = "the loss is not finite";
  }
  for (size_t i = 0; i < ceilings.size() && reason.empty(); ++i) {
    is_stopped_early |= all.watched[i] / all.weight > ceilings[i];
  }

  const double lr = rate_of_update(options_.schedule, steps_done());
  std::optional<double> norm;
  if (reason.empty() && !is_stopped_early) {
    sum_shared_gradients(decoder_, groups_);
    const at::Tensor owned = reduce_to_owners(decoder_.parameters().gradients(), *groups_.data);
    norm = gradient_norm(owned) / all.weight;
    if (std::isfinite(*norm)) {
      n_skipped_in_row_ = 0;
      optimizer_.step(owned, lr, clip_scale(*norm, options_.max_grad_norm) / all.weight);
      gather_from_owners(decoder_.parameters().stored(), *groups_.data);
      if (groups_.data->size() > 1) decoder_.parameters().widen();
    } else {
      reason = "a gradient is not finite";
    }
  }

  decoder_.parameters().release_gradients();  // until the next step: others generate meanwhile

  // These are the same on every rank: only the first one records them, so that merging over ranks
  // counts each step once.
  if (groups_.data->rank() == 0) {
    statistics.sum("skipped_steps", reason.empty() ? 0 : 1);
    statistics.sum("nonfinite_steps", reason.empty() || all.weight <= 0 ? 0 : 1);
    if (!ceilings.empty()) statistics.sum("early_stopped_steps", is_stopped_early ? 1 : 0);
    statistics.sum("n_tokens", all.tokens);
    statistics.scalar("lr", lr);
    if (all.weight > 0) statistics.scalar("loss", all.loss / all.weight);
    if (norm) statistics.scalar("grad_norm", *norm);
  }
  if (!reason.empty()) {
    if (options_.on_nonfinite == OnNonfinite::kStop && all.weight > 0) {
      throw CallError(
          base::concat("optimizer step ", steps_done() + 1, ": ", reason),
          {.expected = "finite numbers, since on_nonfinite is stop",
           .got = base::concat("loss ", all.loss / all.weight, " over ", all.tokens, " tokens"),
           .advice = "lower lr or max_grad_norm, or set on_nonfinite = skip"});
    }
    base::log_warning(base::concat("optimizer step ", steps_done() + 1, " skipped: ", reason));
    // A minibatch without any weight may be right: all its answers equal, or left out.
    if (all.weight > 0 && ++n_skipped_in_row_ == options_.max_skipped_updates) {
      throw CallError(
          base::concat("optimizer step ", steps_done() + 1, ": ", n_skipped_in_row_,
                       " updates in a row were skipped, the last one because ", reason),
          {.expected = base::concat(
               "fewer than max_skipped_updates = ", options_.max_skipped_updates, " in a row"),
           .got = base::concat("loss ", all.loss / all.weight, " over ", all.tokens, " tokens"),
           .advice = "the model has diverged, or its weights, data or rewards are broken: go back "
                     "to an earlier checkpoint, lower lr or max_grad_norm"});
    }
  }
  return statistics;
}

}  // namespace orrery::parallel
