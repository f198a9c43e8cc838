#include "orrery/algorithm/sequence_actions.h"

#include <ATen/ATen.h>

#include <numeric>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

SequenceActions::SequenceActions(const std::vector<int32_t>& lengths, const at::Tensor& mask)
    : mask_(mask) {
  const int64_t n = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  if (mask.numel() != n) {
    throw ShapeError("sequences and the mask of their actions differ in size",
                     {.expected = base::concat(n, " actions in ", lengths.size(), " sequences"),
                      .got = base::concat(mask.numel()),
                      .advice = {}});
  }
  const at::Tensor sizes = at::tensor(lengths, at::kLong);
  places_ = at::repeat_interleave(sizes);
  counts_ = at::zeros({sizes.numel()}, at::kDouble).index_add(0, places_, mask.to(at::kDouble));
}

at::Tensor SequenceActions::sums(const at::Tensor& per_action) const {
  const at::Tensor zeros = at::zeros({counts_.numel()}, per_action.options().requires_grad(false));
  return zeros.index_add(0, places_, at::where(mask_, per_action, 0.0));
}

at::Tensor SequenceActions::means(const at::Tensor& per_action) const {
  return sums(per_action) / counts_.clamp_min(1).to(per_action.scalar_type());
}

at::Tensor SequenceActions::spread(const at::Tensor& per_sequence) const {
  return per_sequence.index_select(0, places_);
}

}  // namespace orrery::algorithm
