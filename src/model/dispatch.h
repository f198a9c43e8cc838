// From a tensor's type to a template argument.
#pragma once

#include <ATen/core/Tensor.h>

namespace orrery::model {

/// Calls work.template operator()<T>() with T = float or double; a decoder has no other type.
template <class Work>
decltype(auto) with_type(at::ScalarType dtype, Work&& work) {
  if (dtype == at::kDouble) return work.template operator()<double>();
  return work.template operator()<float>();
}

/// Null for an undefined tensor. T is the tensor's type, as with_type() gives it: that is not
/// looked up again at each of the forty matrices of a layer, which would show where tokens are
/// decoded.
template <class T>
const T* values(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<const T*>(tensor.unsafeGetTensorImpl()->data()) : nullptr;
}
template <class T>
T* mutable_values(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.unsafeGetTensorImpl()->mutable_data()) : nullptr;
}

}  // namespace orrery::model
