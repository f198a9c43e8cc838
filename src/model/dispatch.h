// From a tensor's type to a template argument.
#pragma once

#include <ATen/core/Tensor.h>

#include "orrery/base/error.h"
#include "orrery/kernels/bf16.h"

namespace orrery::model {

template <class T>
inline constexpr at::ScalarType kScalarType = c10::CppTypeToScalarType<T>::value;
template <>
inline constexpr at::ScalarType kScalarType<kernels::Bf16> = at::kBFloat16;

/// Calls work.template operator()<T>() with T = float or double; on CPUs a decoder computes in no
/// other type.
template <class Work>
decltype(auto) with_type(at::ScalarType dtype, Work&& work) {
  if (dtype == at::kDouble) return work.template operator()<double>();
  return work.template operator()<float>();
}

template <class T>
void expect_type([[maybe_unused]] const at::Tensor& tensor) {
#ifndef NDEBUG
  ORRERY_ASSERT(!tensor.defined() || tensor.scalar_type() == kScalarType<T>,
                "an operator was given tensors of different types");
#endif
}

/// Null for an undefined tensor. T is the type that with_type() found, or the one of its sums, for
/// one of an operator's tensors. A release build does not look it up again at each of the forty
/// matrices of a layer, which would show where tokens are decoded.
template <class T>
const T* values(const at::Tensor& tensor) {
  expect_type<T>(tensor);
  return tensor.defined() ? static_cast<const T*>(tensor.unsafeGetTensorImpl()->data()) : nullptr;
}
template <class T>
T* mutable_values(const at::Tensor& tensor) {
  expect_type<T>(tensor);
  return tensor.defined() ? static_cast<T*>(tensor.unsafeGetTensorImpl()->mutable_data()) : nullptr;
}

}  // namespace orrery::model
