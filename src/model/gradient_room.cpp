#include "gradient_room.h"

#include <ATen/ops/zeros.h>

namespace orrery::model {

void GradientRoom::make_wide(at::Tensor& view) {
  if (!view.defined() || view.scalar_type() != at::kBFloat16) return;
  at::Tensor wide = at::zeros(view.sizes(), view.options().dtype(at::kFloat));
  wide_.emplace_back(std::move(view), wide);
  view = std::move(wide);
}

void GradientRoom::add_to_buffer() {
  for (const auto& [view, wide] : wide_) view.add_(wide);
  wide_.clear();
}

}  // namespace orrery::model
