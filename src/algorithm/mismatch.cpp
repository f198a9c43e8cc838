#include "orrery/algorithm/mismatch.h"

#include <ATen/ATen.h>

namespace orrery::algorithm {

void record_mismatch(metrics::Statistics& statistics, const at::Tensor& trained,
                     const at::Tensor& generated, const at::Tensor& mask) {
  const at::Tensor d =
      (trained.detach().to(at::kDouble) - generated.to(at::kDouble)).masked_select(mask);
  if (d.numel() == 0) return;
  const auto n = static_cast<double>(d.numel());
  const at::Tensor distance = d.abs();
  const auto sum = [](const at::Tensor& values) { return values.sum().item<double>(); };
  statistics.mean("mismatch/abs_mean", sum(distance), n);
  statistics.max("mismatch/abs_max", distance.max().item<double>());
  statistics.mean("mismatch/k1", -sum(d), n);
  statistics.mean("mismatch/k3", sum(d.expm1() - d), n);
}

at::Tensor sampling_weight(const at::Tensor& policy_log_probs, const at::Tensor& drawn_log_probs,
                           double cap) {
  return (policy_log_probs.to(at::kDouble) - drawn_log_probs.to(at::kDouble)).exp().clamp_max(cap);
}

}  // namespace orrery::algorithm
