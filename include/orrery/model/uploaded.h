// Numbers of the host on a GPU, through pinned memory: nobody waits.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>  // copy
#include <span>

namespace orrery::model {

/// [n], n > 0, in pinned memory.
template <class T>
at::Tensor pinned(std::span<const T> numbers) {
  const at::TensorOptions type = c10::CppTypeToScalarType<T>::value;
  const at::Tensor result =
      at::empty({static_cast<int64_t>(numbers.size())}, type.pinned_memory(true));
  std::copy(numbers.begin(), numbers.end(), result.mutable_data_ptr<T>());
  return result;
}

/// [n] on the device of `like`.
template <class T>
at::Tensor uploaded(std::span<const T> numbers, const at::Tensor& like) {
  if (numbers.empty()) {
    const at::TensorOptions type = c10::CppTypeToScalarType<T>::value;
    return at::empty({0}, type.device(like.device()));
  }
  return pinned(numbers).to(like.device(), /*non_blocking=*/true);
}

/// The bytes of things that are copied as they are.
template <class T>
at::Tensor uploaded_bytes(std::span<const T> things, const at::Tensor& like) {
  return uploaded(std::span(reinterpret_cast<const uint8_t*>(things.data()), things.size_bytes()),
                  like);
}

}  // namespace orrery::model
