// Training over the stages of a pipeline, one forward and one backward in turn (1F1B, Narayanan et
// al. 2021): no stage ever holds the activations of more micro-batches than there are stages.
//
//   stage 0   F0 F1 F2 .. .. B0 F3 .. B1 .. .. B2 .. .. B3
//   stage 1   .. F0 F1 .. B0 F2 B1 F3 .. B2 .. B3
//   stage 2   .. .. F0 B0 F1 B1 F2 B2 F3 B3
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <vector>

#include "orrery/model/decoder.h"

namespace orrery::parallel {

/// One thing that a stage does, with the messages that go with it.
struct PipelineStep {
  enum class Kind { kForward, kBackward };
  Kind kind = Kind::kForward;
  int micro_batch = 0;
  bool operator==(const PipelineStep&) const = default;
};

/// The order of one stage; n_micro_batches forwards and as many backwards. Pure.
std::vector<PipelineStep> one_forward_one_backward(int stage, int n_stages, int n_micro_batches);

/// The loss of a micro-batch, a sum [] to be backpropagated, from the last stage's output [R, H].
/// Called on the last stage only. An undefined loss or one without a gradient: none flows back.
using StageLoss = std::function<at::Tensor(int micro_batch, const at::Tensor& output)>;

/// Forward and backward of all micro-batches; adds to the decoder's gradients. All stages give
/// equal micro-batches. Without a pipeline: one after another. Collective over the shards of a data
/// rank.
void train_micro_batches(model::Decoder& decoder,
                         std::span<const model::PackedTokens> micro_batches, const StageLoss& loss);

}  // namespace orrery::parallel
