// Numbers of the host on a GPU, through pinned memory: nobody waits.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>  // copy
#include <span>

namespace orrery::model {

/// [n] on the device of `like`.
template <class T>
at::Tensor uploaded(std::span<const T> numbers, const at::Tensor& like) {
  const auto n = static_cast<int64_t>(numbers.size());
  const at::TensorOptions type = c10::CppTypeToScalarType<T>::value;
  if (n == 0) return at::empty({0}, type.device(like.device()));
  const at::Tensor pinned = at::empty({n}, type.pinned_memory(true));
  std::copy(numbers.begin(), numbers.end(), pinned.mutable_data_ptr<T>());
  return pinned.to(like.device(), /*non_blocking=*/true);
}

/// The bytes of things that are copied as they are.
template <class T>
at::Tensor uploaded_bytes(std::span<const T> things, const at::Tensor& like) {
  return uploaded(std::span(reinterpret_cast<const uint8_t*>(things.data()), things.size_bytes()),
                  like);
}

}  // namespace orrery::model
