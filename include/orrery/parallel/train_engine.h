// One optimizer step on a minibatch that is spread over data ranks: micro-batches within a token
// budget, gradients summed, reduced once, divided by the weight of the whole minibatch, clipped,
// AdamW. The result does not depend on how the minibatch was split.
// Main thread of a worker; gradients live in the decoder's flat buffer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "orrery/comm/communicator.h"
#include "orrery/data/sequence_batch.h"
#include "orrery/metrics/statistics.h"
#include "orrery/model/decoder.h"
#include "orrery/parallel/adamw.h"
#include "orrery/parallel/lr_schedule.h"

namespace orrery::parallel {

/// How a batch is cut into micro-batches.
struct MicroBatchLimits {
  int64_t max_tokens = 0;  ///< 0: no limit. A sequence over it is a micro-batch of its own
  int64_t min_parts = 1;
};

/// Micro-batches of a batch, within the limits as far as single samples allow. Pure.
std::vector<data::SequenceBatch> micro_batches(const data::SequenceBatch& batch,
                                               const MicroBatchLimits& limits);

struct OptimizerOptions {
  AdamWOptions adamw;
  LrScheduleOptions schedule;
  double max_grad_norm = 1;  ///< 0: no clipping
};

/// What a loss function returns for one micro-batch.
struct LossResult {
  at::Tensor loss_sum;             ///< [] sum over tokens of loss * weight, not divided
  metrics::Statistics statistics;  ///< of the tokens of the micro-batch
};

/// log_probs [actions of the micro-batch] of the model being trained, differentiable.
using LossFunction =
    std::function<LossResult(const at::Tensor& log_probs, const data::SequenceBatch& micro_batch)>;

class TrainEngine {
 public:
  /// `decoder` and `data_group` must outlive the engine.
  TrainEngine(model::Decoder& decoder, OptimizerOptions options, comm::Communicator& data_group);

  /// One optimizer step; `minibatch` is this data rank's part (it may be empty) and has
  /// packed_input_ids [tokens] int64. `loss_weight` is the sum of its weights.
  /// Returns loss, grad_norm, lr, n_tokens and what the loss function recorded. When the weight of
  /// all ranks is 0, or loss or gradient are not finite, nothing changes but the count of skipped
  /// steps (`skipped_steps`); the decision is the same on all ranks.
  /// Collective over the data group.
  metrics::Statistics step(const data::SequenceBatch& minibatch, double temperature,
                           double loss_weight, const LossFunction& loss,
                           const MicroBatchLimits& limits);

  int64_t steps_done() const { return steps_done_; }

 private:
  model::Decoder& decoder_;
  OptimizerOptions options_;
  comm::Communicator& data_group_;
  AdamW optimizer_;
  int64_t steps_done_ = 0;
};

}  // namespace orrery::parallel
