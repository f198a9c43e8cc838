#include "tensor_text.h"

#include "orrery/base/text.h"

namespace orrery::comm {

std::string_view type_name(at::ScalarType type) {
  switch (type) {
    case at::kBool:
      return "bool";
    case at::kByte:
      return "uint8";
    case at::kChar:
      return "int8";
    case at::kShort:
      return "int16";
    case at::kInt:
      return "int32";
    case at::kLong:
      return "int64";
    case at::kHalf:
      return "fp16";
    case at::kBFloat16:
      return "bf16";
    case at::kFloat:
      return "fp32";
    case at::kDouble:
      return "fp64";
    default:
      return c10::toString(type);
  }
}

std::string tensor_text(const at::Tensor& tensor) {
  if (!tensor.defined()) return "undefined";
  return base::concat("[", base::join(tensor.sizes(), ", "), "] ", type_name(tensor.scalar_type()));
}

}  // namespace orrery::comm
