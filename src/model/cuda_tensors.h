// What the operators on GPUs share. Private to src/model.
#pragma once

#include <ATen/ops/empty.h>

#include "dispatch.h"
#include "operators.h"
#include "orrery/model/arithmetic_type.h"
#include "orrery/model/cuda_stream.h"
#include "orrery/model/uploaded.h"

namespace orrery::model::operators::cuda {

/// Calls work.template operator()<T>() with T = float, double or Bf16.
template <class Work>
decltype(auto) with_gpu_type(at::ScalarType dtype, Work&& work) {
  if (dtype == at::kBFloat16) return work.template operator()<kernels::Bf16>();
  return with_type(dtype, work);
}

/// Of a kernel's sums and statistics beside values of type T.
template <class T>
using Real = typename kernels::Arithmetic<T>::Type;

/// Added to a norm's weight before it multiplies.
inline double weight_offset(NormKind kind) { return kind == NormKind::kRmsPlusOne ? 1 : 0; }

}  // namespace orrery::model::operators::cuda
