// What an optimizer step learns from, one micro-batch after another: losses on the host, or their
// gradients beside the model and the losses themselves at the end. Private to src/parallel.
#pragma once

#include <c10/core/Event.h>

#include <functional>
#include <vector>

#include "orrery/parallel/train_engine.h"

namespace orrery::parallel {

class StepLoss {
 public:
  using Record = std::function<void(const LossResult&)>;  // called once for each micro-batch

  virtual ~StepLoss() = default;
  /// Of the last stage's output: what is backpropagated [].
  virtual at::Tensor sum_of(const model::PackedTokens& tokens, const at::Tensor& output,
                            const data::SequenceBatch& part, const Record& record) = 0;
  /// When all micro-batches have been enqueued.
  virtual void finish(const Record& /*record*/) {}
};

class LossOfOutputs final : public StepLoss {
 public:
  explicit LossOfOutputs(const OutputLossFunction& loss) : loss_(loss) {}

  at::Tensor sum_of(const model::PackedTokens& tokens, const at::Tensor& output,
                    const data::SequenceBatch& part, const Record& record) override;

 private:
  const OutputLossFunction& loss_;
};

/// Gradients come from what the device says of the loss. What the model said of each micro-batch is
/// on its way to the host's loss meanwhile, which is asked when that of the last one is there:
/// before its backward pass is done, beside which the host computes.
class LossOnDevice final : public StepLoss {
 public:
  /// What the host's loss is asked about.
  using Head = std::function<model::LogProbs(const model::PackedTokens&, const at::Tensor& output)>;

  LossOnDevice(Head head, const PolicyLossFunction& on_host, const DeviceLossSum& on_device)
      : head_(std::move(head)), on_host_(on_host), on_device_(on_device) {}

  at::Tensor sum_of(const model::PackedTokens& tokens, const at::Tensor& output,
                    const data::SequenceBatch& part, const Record& record) override;
  void finish(const Record& record) override;

 private:
  struct Kept {
    data::SequenceBatch part;
    model::LogProbs said;
  };

  Head head_;
  const PolicyLossFunction& on_host_;
  const DeviceLossSum& on_device_;
  std::vector<Kept> kept_;  // in pinned memory
  c10::Event is_there_{c10::kCUDA};
};

}  // namespace orrery::parallel
