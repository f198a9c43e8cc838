#include "step_loss.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/core/impl/VirtualGuardImpl.h>

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

/// In pinned memory, once its stream has come to it.
at::Tensor on_its_way(const at::Tensor& x) {
  if (!x.defined()) return x;
  const at::TensorOptions pinned = x.options().device(at::kCPU).pinned_memory(true);
  return at::empty(x.sizes(), pinned).copy_(x.detach(), /*non_blocking=*/true);
}

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
  kept_.push_back(
      {.part = part,
       .said = {.log_probs = on_its_way(said.log_probs), .entropy = on_its_way(said.entropy)}});
  is_there_.record(c10::impl::VirtualGuardImpl(c10::kCUDA).getStream(output.device()));
  return on_device_(said, there(part, output.device()));
}

void LossOnDevice::finish(const Record& record) {
  if (kept_.empty()) return;  // a stage without a head, or no sample here
  is_there_.synchronize();
  const at::NoGradGuard no_grad;
  for (const Kept& kept : kept_) record(on_host_(kept.said, kept.part));
}

}  // namespace orrery::parallel
