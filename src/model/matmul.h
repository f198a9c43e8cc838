// matmuls of training passes: LibTorch's, or the faster ones of kernels/split_gemm.h for
// large fp32 matrices where the processor has them. Generation has its own (generator.h), which sum
// in an order that no batch changes.
#pragma once

#include <ATen/core/Tensor.h>

namespace orrery::model {

/// out [m, n] = a [m, k] b [k, n]. Local.
void multiply_into(at::Tensor out, const at::Tensor& a, const at::Tensor& b);

/// out [m, n] += a [m, k] b [k, n]. Local.
void multiply_onto(at::Tensor out, const at::Tensor& a, const at::Tensor& b);

/// a [m, k] b [k, n]. Local.
at::Tensor multiplied(const at::Tensor& a, const at::Tensor& b);

}  // namespace orrery::model
