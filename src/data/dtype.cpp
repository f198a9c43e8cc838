#include "orrery/data/dtype.h"

#include <array>
#include <utility>

namespace orrery::data {

std::optional<DType> parse_dtype(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, DType>, 12> kNames = {
      {{"bool", DType::kBool},
       {"uint8", DType::kU8},
       {"int32", DType::kI32},
       {"int64", DType::kI64},
       {"bf16", DType::kBf16},
       {"bfloat16", DType::kBf16},
       {"fp16", DType::kF16},
       {"float16", DType::kF16},
       {"fp32", DType::kF32},
       {"float32", DType::kF32},
       {"fp64", DType::kF64},
       {"float64", DType::kF64}}};
  for (const auto& [known, dtype] : kNames) {
    if (known == text) return dtype;
  }
  return std::nullopt;
}

}  // namespace orrery::data
