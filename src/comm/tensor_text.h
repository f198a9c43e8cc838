// Tensors and their types in error texts.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>

namespace orrery::comm {

/// `fp32`, `int64`, ...
std::string_view type_name(at::ScalarType type);
/// `[2, 3] fp32`, or `undefined`.
std::string tensor_text(const at::Tensor& tensor);

}  // namespace orrery::comm
