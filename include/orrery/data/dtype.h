// Element types of a batch's tensors, for code that may not see tensors (messages, the master).
// sequence_batch.h translates them to LibTorch's.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace orrery::data {

/// Values are part of messages and checkpoints: append, never renumber.
enum class DType : uint8_t {
  kBool = 0,
  kU8 = 1,
  kI32 = 2,
  kI64 = 3,
  kBf16 = 4,
  kF16 = 5,
  kF32 = 6,
  kF64 = 7,
};

constexpr int64_t size_bytes(DType dtype) {
  switch (dtype) {
    case DType::kBool:
    case DType::kU8:
      return 1;
    case DType::kBf16:
    case DType::kF16:
      return 2;
    case DType::kI32:
    case DType::kF32:
      return 4;
    case DType::kI64:
    case DType::kF64:
      return 8;
  }
  return 0;
}

/// "bool", "uint8", "int32", "int64", "bf16", "fp16", "fp32", "fp64".
constexpr std::string_view name(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return "bool";
    case DType::kU8:
      return "uint8";
    case DType::kI32:
      return "int32";
    case DType::kI64:
      return "int64";
    case DType::kBf16:
      return "bf16";
    case DType::kF16:
      return "fp16";
    case DType::kF32:
      return "fp32";
    case DType::kF64:
      return "fp64";
  }
  return "unknown";
}

/// The type of that name (also the long forms bfloat16, float16, float32, float64), if there is
/// one.
std::optional<DType> parse_dtype(std::string_view text);

}  // namespace orrery::data
