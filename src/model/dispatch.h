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

}  // namespace orrery::model
