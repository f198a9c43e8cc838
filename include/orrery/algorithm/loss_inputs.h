// Checks of what a loss is made of, for all losses of preferences and distillation. Local.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace orrery::algorithm {

/// What a loss does about inputs that are NaN or infinite.
enum class NonfiniteInput {
  kRefuse,  ///< CallError
  /// They give a loss that is not finite: the engine's on_nonfinite decides, on all ranks alike.
  kPassOn,
};

/// Throws ShapeError, which says `what`, unless the tensor has so many numbers.
void check_size(const char* what, const at::Tensor& tensor, int64_t expected);

/// Throws CallError, which says `what`, for a number that is NaN or infinite. `mask` [n] bool or
/// undefined: where to look.
void refuse_nonfinite(const char* what, const at::Tensor& tensor, const at::Tensor& mask = {});

/// Throws ConfigError, which names the option, for a number that is not finite or not within.
void check_option(const char* name, double value, double low, double high);
/// The same for a number that must be above 0.
void check_positive(const char* name, double value);

}  // namespace orrery::algorithm
