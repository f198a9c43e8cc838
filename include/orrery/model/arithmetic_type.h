// In which type numbers that are stored in bf16 are added up. As kernels::Arithmetic has it.
#pragma once

#include <ATen/core/Tensor.h>

namespace orrery::model {

/// Of sums, statistics and results beside values of `dtype`: fp32 beside bf16, else `dtype`.
inline at::ScalarType arithmetic_type(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? at::kFloat : dtype;
}

/// Options of these beside `x`.
inline at::TensorOptions sums_of(const at::Tensor& x) {
  return x.options().dtype(arithmetic_type(x.scalar_type()));
}

}  // namespace orrery::model
