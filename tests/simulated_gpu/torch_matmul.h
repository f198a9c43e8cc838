// Matmuls as a GPU's library makes them: how it sums follows from the number of rows,
// and another number gives other last bits.
#pragma once

#include <ATen/ATen.h>

namespace orrery::simulated_gpu {

/// a b, or in fp32 of halves: of two parts of the inner dimension, which the rows of `a` cut.
inline at::Tensor multiplied(const at::Tensor& a, const at::Tensor& b) {
  if (a.element_size() < 4) return multiplied(a.to(at::kFloat), b.to(at::kFloat));
  const int64_t k = a.size(1), cut = k * (1 + a.size(0) % 4) / 5;
  at::Tensor sum = at::mm(a.narrow(1, 0, cut), b.narrow(0, 0, cut));
  return sum.addmm_(a.narrow(1, cut, k - cut), b.narrow(0, cut, k - cut));
}

/// beta `added` + alpha a b, rounded once.
inline at::Tensor multiplied_onto(const at::Tensor& added, const at::Tensor& a, const at::Tensor& b,
                                  const at::Scalar& beta, const at::Scalar& alpha) {
  const at::Tensor sum = multiplied(a, b);
  return sum * alpha + added.to(sum.scalar_type()) * beta;
}

}  // namespace orrery::simulated_gpu
