// What the operators on GPUs share. Private to src/model.
#pragma once

#include <ATen/ops/empty.h>

#include <algorithm>  // copy
#include <span>

#include "operators.h"
#include "orrery/model/cuda_stream.h"

namespace orrery::model::operators::cuda {

/// Numbers of the host on the device of `like`. Does not wait for it.
template <class T>
at::Tensor uploaded(std::span<const T> numbers, const at::Tensor& like) {
  const auto n = static_cast<int64_t>(numbers.size());
  const at::TensorOptions type = c10::CppTypeToScalarType<T>::value;
  if (n == 0) return at::empty({0}, type.device(like.device()));
  const at::Tensor pinned = at::empty({n}, type.pinned_memory(true));
  std::copy(numbers.begin(), numbers.end(), pinned.mutable_data_ptr<T>());
  return pinned.to(like.device(), /*non_blocking=*/true);
}

/// Added to a norm's weight before it multiplies.
inline double weight_offset(NormKind kind) { return kind == NormKind::kRmsPlusOne ? 1 : 0; }

}  // namespace orrery::model::operators::cuda
