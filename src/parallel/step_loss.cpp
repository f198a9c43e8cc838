#include "step_loss.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

namespace orrery::parallel {

namespace {

/// A micro-batch but for its tokens, from pinned memory, for which nobody waits.
data::SequenceBatch there(const data::SequenceBatch& part, at::Device device) {
  data::SequenceBatch result{.meta = part.meta, .data = {}};
  for (const auto& [key, x] : part.data) {
    if (key == "packed_input_ids") continue;
    const at::Tensor pinned = at::empty(x.sizes(), x.options().pinned_memory(true)).copy_(x);
    result.data[key] = pinned.to(device, /*non_blocking=*/true);
  }
  return result;
}

at::Tensor without_graph(const at::Tensor& x) { return x.defined() ? x.detach() : x; }

}  // namespace

at::Tensor LossOfOutputs::sum_of(const model::PackedTokens& tokens, const at::Tensor& output,
                                 const data::SequenceBatch& part, const Record& record) {
  const LossResult result = loss_(tokens, output, part);
  record(result);
  return result.loss_sum;
}

at::Tensor LossOnDevice::sum_of(const model::PackedTokens& tokens, const at::Tensor& output,
                                const data::SequenceBatch& part, const Record& /*record*/) {
  const model::LogProbs said = head_(tokens, output);
  kept_.push_back({.part = part,
                   .said = {.log_probs = without_graph(said.log_probs),
                            .entropy = without_graph(said.entropy)}});
  return on_device_(said, there(part, output.device()));
}

void LossOnDevice::finish(const Record& record) {
  if (kept_.empty()) return;  // a stage without a head, or no sample here
  std::vector<at::Tensor> pieces;
  for (const Kept& kept : kept_) {
    pieces.push_back(kept.said.log_probs);
    if (kept.said.entropy.defined()) pieces.push_back(kept.said.entropy);
  }
  const at::Tensor all = at::cat(pieces).cpu();
  int64_t first = 0;
  const auto next = [&](const at::Tensor& piece) {
    if (!piece.defined()) return piece;
    first += piece.numel();
    return all.narrow(0, first - piece.numel(), piece.numel());
  };
  const at::NoGradGuard no_grad;
  for (const Kept& kept : kept_) {
    const at::Tensor log_probs = next(kept.said.log_probs);
    record(on_host_({.log_probs = log_probs, .entropy = next(kept.said.entropy)}, kept.part));
  }
}

}  // namespace orrery::parallel
