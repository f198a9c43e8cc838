#include "orrery/algorithm/masked_statistics.h"

namespace orrery::algorithm {

double masked_sum(const at::Tensor& values, const at::Tensor& mask) {
  return at::where(mask, values.detach().to(at::kDouble), 0.0).sum().item<double>();
}

void record_spread(metrics::Statistics& statistics, const std::string& name,
                   const at::Tensor& values, const at::Tensor& mask) {
  at::Tensor chosen = values.detach().to(at::kDouble);
  if (mask.defined()) chosen = chosen.masked_select(mask);
  if (chosen.numel() == 0) return;
  statistics.mean(name, chosen.sum().item<double>(), static_cast<double>(chosen.numel()));
  statistics.min(name + "_min", chosen.min().item<double>());
  statistics.max(name + "_max", chosen.max().item<double>());
}

}  // namespace orrery::algorithm
