// Matmuls of training passes: LibTorch's, or the faster ones of kernels/split_gemm.h for large fp32
// matrices where the processor has them and the model may use them. Generation has its own
// (generator.h), which sum in an order that no batch changes. `a` and `b` have one type, `out` has
// it too or, on GPUs, that of sums (arithmetic_type.h): then nothing is rounded in between.
#pragma once

#include <ATen/core/Tensor.h>

#include "orrery/kernels/instruction_set.h"  // Amx

namespace orrery::model {

enum class MatmulKernel { kLibTorch, kSplitGemm };

/// What multiplies out [m, n] = a [m, k] b [k, n], on a processor with tiles (has_split_gemm) or
/// one without.
MatmulKernel matmul_kernel(kernels::Amx amx, bool has_tiles, const at::Tensor& out,
                           const at::Tensor& a, const at::Tensor& b);

/// out [m, n] = a [m, k] b [k, n]. Local.
void multiply_into(kernels::Amx amx, at::Tensor out, const at::Tensor& a, const at::Tensor& b);

/// out [m, n] += a [m, k] b [k, n]. Local.
void multiply_onto(kernels::Amx amx, at::Tensor out, const at::Tensor& a, const at::Tensor& b);

/// a [m, k] b [k, n]. Local.
at::Tensor multiplied(kernels::Amx amx, const at::Tensor& a, const at::Tensor& b);
/// The same in the type of sums.
at::Tensor multiplied_widely(kernels::Amx amx, const at::Tensor& a, const at::Tensor& b);

}  // namespace orrery::model
