// One optimizer step on a minibatch that is spread over the shards of a replica: micro-batches
// within a token budget, gradients summed, reduced once, divided by the weight of the whole
// minibatch, clipped, AdamW. The result does not depend on the layout or on how the minibatch was
// split.
//
//   data rank:  forward, backward of its micro-batches (their number may differ between data ranks)
//   all:        sum of weight, loss, watched numbers          -> every shard decides the same
//   data rank:  sums of what its shards share
//   data group: each rank gets its partition of the summed gradients
//   all:        norm                                          -> every shard decides the same
//   shard:      AdamW on its partition, which then goes to the data group
//
// Main thread of a worker; gradients live in the decoder's flat buffer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/comm/communicator.h"
#include "orrery/data/sequence_batch.h"
#include "orrery/metrics/statistics.h"
#include "orrery/model/decoder.h"
#include "orrery/parallel/adamw.h"
#include "orrery/parallel/lr_schedule.h"
#include "orrery/parallel/replica_groups.h"

namespace orrery::parallel {

/// How a batch is cut into micro-batches.
struct MicroBatchLimits {
  int64_t max_tokens = 0;  ///< 0: no limit. A sample over it is a micro-batch of its own
  int64_t min_parts = 1;
};

/// Micro-batches of a batch, within the limits as far as single samples allow. Pure.
std::vector<data::SequenceBatch> micro_batches(const data::SequenceBatch& batch,
                                               const MicroBatchLimits& limits);

/// What to do when loss or gradients are NaN or infinite. They never reach the parameters.
enum class OnNonfinite {
  kSkip,  ///< no update, counted in `skipped_steps` and `nonfinite_steps`
  kStop,  ///< CallError on all ranks
};

/// `skip` or `stop`. Throws ConfigError for another name.
OnNonfinite on_nonfinite_named(std::string_view name);

struct OptimizerOptions {
  AdamWOptions adamw;
  bool bf16_gradients = false;  ///< the flat buffer of a minibatch's sums; not beside fp64
  LrScheduleOptions schedule;
  double max_grad_norm = 1;  ///< 0: no clipping
  /// Times the balance loss of experts, its mean over tokens (Decoder::set_balance_weight), is
  /// added to the loss in the gradient, not in what is reported. 0: none
  double balance_coefficient = 0;
  OnNonfinite on_nonfinite = OnNonfinite::kSkip;
  /// With kSkip: so many updates in a row whose numbers are not finite end the job. 0: never
  int64_t max_skipped_updates = 20;
};

/// What a loss function returns for one micro-batch.
struct LossResult {
  at::Tensor loss_sum;             ///< [] sum over tokens of loss * weight, not divided
  metrics::Statistics statistics;  ///< of the tokens of the micro-batch
  /// Sums over tokens of value * weight, one for each ceiling given to step().
  std::vector<double> watched = {};
};

/// What the model being trained says of the micro-batch, differentiable: log-probabilities of its
/// actions [A], or with a value head values of its tokens [T]. On the host, as samples are: losses
/// are a few numbers a token, and gradients go back to where the model computes.
using LossFunction =
    std::function<LossResult(const at::Tensor& output, const data::SequenceBatch& micro_batch)>;

/// The same of a policy: log-probabilities of its actions [A], differentiable, and the entropy of
/// the distribution each was drawn from [A], with a gradient where step() is told so.
using PolicyLossFunction = std::function<LossResult(const model::LogProbs& output,
                                                    const data::SequenceBatch& micro_batch)>;

/// The `loss_sum` of a PolicyLossFunction alone, of tensors that are all where the model computes,
/// of the micro-batch too. Where that is a GPU, and there is one, gradients come of it, and the
/// loss function itself is asked without gradients once all micro-batches have been enqueued: the
/// host waits once for all of them, not for each.
using DeviceLossSum = std::function<at::Tensor(const model::LogProbs& output,
                                               const data::SequenceBatch& micro_batch)>;

/// The same of the output [R, H] of the last stage, for losses that need more of the head than
/// log-probabilities (Decoder::head_divergence).
using OutputLossFunction = std::function<LossResult(
    const model::PackedTokens& tokens, const at::Tensor& output, const data::SequenceBatch& part)>;

class StepLoss;  // src/parallel/step_loss.h

class TrainEngine {
 public:
  /// `decoder` and the groups must outlive the engine. With bf16_gradients the decoder may not have
  /// gradients yet.
  TrainEngine(model::Decoder& decoder, OptimizerOptions options, ReplicaGroups groups);
  /// Of a replica whose shards are whole models.
  TrainEngine(model::Decoder& decoder, OptimizerOptions options, comm::Communicator& data_group)
      : TrainEngine(decoder, std::move(options), ReplicaGroups::data_parallel(data_group)) {}

  /// One optimizer step; `minibatch` is this data rank's part (it may be empty), the same on all
  /// its shards, and has packed_input_ids [tokens] int64. `loss_weight` is the sum of its weights.
  /// The loss function is only called on the last stage; the statistics of a DP head are whole.
  /// Returns loss, grad_norm, lr, n_tokens and what the loss function recorded. When the weight of
  /// all ranks is 0, or loss or gradient are not finite, nothing changes but the count of skipped
  /// steps (`skipped_steps`); the decision is the same on all ranks.
  /// Collective over the replica. Throws CallError for OnNonfinite::kStop, and for the last of
  /// max_skipped_updates in a row.
  metrics::Statistics step(const data::SequenceBatch& minibatch, double temperature,
                           double loss_weight, const LossFunction& loss,
                           const MicroBatchLimits& limits);

  /// The same, but early stopping: when the mean of a watched number over the weights of all ranks
  /// is above its ceiling, nothing changes but `early_stopped_steps`. As many ceilings on all
  /// ranks.
  metrics::Statistics step(const data::SequenceBatch& minibatch, double temperature,
                           double loss_weight, const LossFunction& loss,
                           const MicroBatchLimits& limits, std::span<const double> ceilings,
                           const DeviceLossSum& on_device = {});
  metrics::Statistics step(const data::SequenceBatch& minibatch, double temperature,
                           double loss_weight, const PolicyLossFunction& loss,
                           const MicroBatchLimits& limits, std::span<const double> ceilings,
                           model::EntropyGradient entropy = model::EntropyGradient::kNone,
                           const DeviceLossSum& on_device = {});

  /// The same of the last stage's output.
  metrics::Statistics step_on_output(const data::SequenceBatch& minibatch, double loss_weight,
                                     const OutputLossFunction& loss,
                                     const MicroBatchLimits& limits);

  /// Updates of the parameters, the number that the schedule goes by. Skipped steps do not count.
  int64_t steps_done() const { return optimizer_.steps_done(); }
  AdamW& optimizer() { return optimizer_; }

 private:
  struct Totals;
  metrics::Statistics step_by(const data::SequenceBatch& minibatch, double loss_weight,
                              StepLoss& loss, const MicroBatchLimits& limits,
                              std::span<const double> ceilings);
  Totals forward_backward(const data::SequenceBatch& minibatch, StepLoss& loss,
                          const MicroBatchLimits& limits, size_t n_watched,
                          metrics::Statistics& statistics);
  void weigh_balance(const data::SequenceBatch& minibatch, double loss_weight);
  double gradient_norm(const at::Tensor& owned);
  bool is_on_gpu() const;
  bool is_dp_head() const;

  model::Decoder& decoder_;
  OptimizerOptions options_;
  ReplicaGroups groups_;
  AdamW optimizer_;
  int64_t n_skipped_in_row_ = 0;  // updates that were not finite since the last one that was
};

}  // namespace orrery::parallel
