#include "orrery/algorithm/high_entropy.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

/// All ranks' numbers, in order of the ranks.
std::vector<double> of_all_ranks(const at::Tensor& own, comm::Communicator* ranks) {
  const double* first = own.const_data_ptr<double>();
  if (ranks == nullptr || ranks->size() == 1) return {first, first + own.numel()};
  at::Tensor most = at::tensor({own.numel()}, at::kLong);
  at::Tensor counts = at::empty({ranks->size()}, at::kLong);
  ranks->all_gather(counts, most);
  ranks->all_reduce(most, comm::ReduceOp::kMax);
  // Parts differ in size: equal ones are exchanged.
  const int64_t width = std::max<int64_t>(most.item<int64_t>(), 1);
  at::Tensor padded = at::zeros({width}, at::kDouble);
  padded.narrow(0, 0, own.numel()).copy_(own);
  at::Tensor parts = at::empty({ranks->size(), width}, at::kDouble);
  ranks->all_gather(parts, padded);
  std::vector<double> all;
  for (int r = 0; r < ranks->size(); ++r) {
    const double* part = parts.const_data_ptr<double>() + r * width;
    all.insert(all.end(), part, part + counts.const_data_ptr<int64_t>()[r]);
  }
  return all;
}

/// Linear interpolation between the two order statistics around it.
double quantile(std::vector<double>& values, double q) {
  const double place = q * static_cast<double>(values.size() - 1);
  const auto below = values.begin() + static_cast<std::ptrdiff_t>(std::floor(place));
  std::nth_element(values.begin(), below, values.end());
  const double low = *below;
  const double share = place - std::floor(place);
  if (share == 0) return low;
  const double high = *std::min_element(below + 1, values.end());
  return share < 0.5 ? low + share * (high - low) : high - (high - low) * (1 - share);
}

}  // namespace

at::Tensor high_entropy_mask(const at::Tensor& entropies, const at::Tensor& mask, double fraction,
                             comm::Communicator* ranks) {
  if (!(fraction > 0 && fraction <= 1)) {
    throw ConfigError(
        "fraction of high-entropy tokens",
        {.expected = "above 0, at most 1", .got = base::concat(fraction), .advice = {}});
  }
  if (entropies.sizes() != mask.sizes()) {
    throw ShapeError("entropies and mask differ in size",
                     {.expected = base::concat(mask.numel(), " actions"),
                      .got = base::concat(entropies.numel()),
                      .advice = {}});
  }
  const at::Tensor wide = entropies.detach().to(at::kDouble);
  std::vector<double> all = of_all_ranks(wide.masked_select(mask).contiguous(), ranks);
  if (all.empty()) return at::zeros_like(mask);
  return wide.ge(quantile(all, 1 - fraction)).logical_and_(mask);
}

}  // namespace orrery::algorithm
