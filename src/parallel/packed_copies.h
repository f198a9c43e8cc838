// The runs of a transfer as one packed buffer and back, on tensors: the kernels of
// kernels/strided_copy.h on the CPU, LibTorch's operators elsewhere.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "orrery/parallel/reallocation_plan.h"

namespace orrery::parallel {

/// packed [sum of numel] = the runs of `source` (a flat buffer), in the type of `packed`. Local.
void gather_copies(std::span<const StridedCopy> copies, const at::Tensor& source,
                   const at::Tensor& packed);

/// Runs of `destination` (a flat buffer) = eta * packed + (1 - eta) * themselves. Local.
void scatter_copies(std::span<const StridedCopy> copies, const at::Tensor& packed,
                    const at::Tensor& destination, double eta);

/// `copy.rows` runs of a flat buffer as a view [rows, length], or [length] of one.
at::Tensor runs_of(const at::Tensor& flat, int64_t offset, int64_t stride, const StridedCopy& copy);

/// to = eta * from + (1 - eta) * to.
void mix(at::Tensor to, const at::Tensor& from, double eta);

}  // namespace orrery::parallel
