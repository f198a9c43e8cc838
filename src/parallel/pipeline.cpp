#include "orrery/parallel/pipeline.h"

#include <algorithm>
#include <optional>

#include "orrery/base/error.h"
#include "orrery/base/index.h"

namespace orrery::parallel {

std::vector<PipelineStep> one_forward_one_backward(int stage, int n_stages, int n_micro_batches) {
  using Kind = PipelineStep::Kind;
  const int ahead = std::min(n_stages - stage - 1, n_micro_batches);
  std::vector<PipelineStep> steps;
  for (int i = 0; i < ahead; ++i) steps.push_back({Kind::kForward, i});
  for (int i = ahead; i < n_micro_batches; ++i) {
    steps.push_back({Kind::kForward, i});
    steps.push_back({Kind::kBackward, i - ahead});
  }
  for (int i = n_micro_batches - ahead; i < n_micro_batches; ++i) {
    steps.push_back({Kind::kBackward, i});
  }
  return steps;
}

namespace {

/// One stage of one pass over micro-batches.
class Stage {
 public:
  Stage(model::Decoder& decoder, std::span<const model::PackedTokens> micro_batches,
        const StageLoss& loss)
      : decoder_(decoder),
        shard_(decoder.shard()),
        micro_batches_(micro_batches),
        loss_(loss),
        passes_(micro_batches.size()) {}

  /// A message to one neighbour goes together with the one that this stage needs next from the same
  /// neighbour: it is sending then as well, so neither waits for the other.
  void run() {
    const std::vector<PipelineStep> steps = one_forward_one_backward(
        shard_.place.pipe, shard_.place.n_pipe, static_cast<int>(micro_batches_.size()));
    for (size_t i = 0; i < steps.size(); ++i) {
      const PipelineStep& step = steps[i];
      prepare(step);
      if (step.kind == PipelineStep::Kind::kForward) {
        forward(step.micro_batch);
      } else {
        backward(step.micro_batch);
      }
      send_result(step, i + 1 < steps.size() ? std::optional(steps[i + 1]) : std::nullopt);
    }
  }

 private:
  struct Pass {
    at::Tensor input, output, gradient;  // of one micro-batch, while they are needed
    at::Tensor loss;
  };

  bool is_forward(const PipelineStep& step) const {
    return step.kind == PipelineStep::Kind::kForward;
  }
  /// The neighbour that a step's input comes from; -1: none.
  int source_of(const PipelineStep& step) const {
    if (is_forward(step)) return shard_.place.is_first_stage() ? -1 : shard_.place.pipe - 1;
    return shard_.place.is_last_stage() ? -1 : shard_.place.pipe + 1;
  }
  int target_of(const PipelineStep& step) const {
    if (is_forward(step)) return shard_.place.is_last_stage() ? -1 : shard_.place.pipe + 1;
    return shard_.place.is_first_stage() ? -1 : shard_.place.pipe - 1;
  }
  at::Tensor& message_of(const PipelineStep& step) {
    Pass& pass = passes_[base::index(step.micro_batch)];
    return is_forward(step) ? pass.input : pass.gradient;
  }
  at::Tensor room_for(const PipelineStep& step) {
    const model::PackedTokens& batch = micro_batches_[base::index(step.micro_batch)];
    return at::empty({decoder_.own_rows(batch), decoder_.architecture().hidden_size},
                     decoder_.parameters().values().options());
  }

  /// Receives the step's input unless it has come already.
  void prepare(const PipelineStep& step) {
    const int source = source_of(step);
    if (source < 0 || message_of(step).defined()) return;
    at::Tensor room = room_for(step);
    shard_.pipe->exchange({}, {{source, room}});
    message_of(step) = room;
  }

  void forward(int micro_batch) {
    const auto i = static_cast<size_t>(micro_batch);
    Pass& pass = passes_[i];
    if (pass.input.defined()) pass.input.set_requires_grad(true);
    pass.output = decoder_.run_stage(micro_batches_[i], pass.input);
    if (shard_.place.is_last_stage()) pass.loss = loss_(micro_batch, pass.output);
  }

  void backward(int micro_batch) {
    Pass& pass = passes_[base::index(micro_batch)];
    if (!shard_.place.is_last_stage()) {
      pass.output.backward(pass.gradient);
    } else if (pass.loss.defined() && pass.loss.requires_grad()) {
      pass.loss.backward();
    }
    pass.output.reset();
    pass.loss.reset();
    pass.gradient.reset();
  }

  /// Sends what the step made; receives the next step's input in the same go if it comes from
  /// there.
  void send_result(const PipelineStep& step, const std::optional<PipelineStep>& next) {
    const int target = target_of(step);
    if (target < 0) return;
    Pass& pass = passes_[base::index(step.micro_batch)];
    at::Tensor result;
    if (is_forward(step)) {
      result = pass.output.detach();
    } else {
      result = pass.input.grad().defined() ? pass.input.grad() : at::zeros_like(pass.input);
      pass.input.reset();
    }
    if (next && source_of(*next) == target) {
      at::Tensor room = room_for(*next);
      shard_.pipe->exchange({{target, result}}, {{target, room}});
      message_of(*next) = room;
    } else {
      shard_.pipe->exchange({{target, result}}, {});
    }
  }

  model::Decoder& decoder_;
  const model::Shard& shard_;
  std::span<const model::PackedTokens> micro_batches_;
  const StageLoss& loss_;
  std::vector<Pass> passes_;
};

}  // namespace

void train_micro_batches(model::Decoder& decoder,
                         std::span<const model::PackedTokens> micro_batches,
                         const StageLoss& loss) {
  Stage(decoder, micro_batches, loss).run();
}

}  // namespace orrery::parallel
