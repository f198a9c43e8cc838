#include "matmul.h"

#include <ATen/Parallel.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "orrery/kernels/split_gemm.h"
#include "orrery/model/arithmetic_type.h"

namespace orrery::model {

namespace {

/// Below these, packing costs more than the faster matmuls gain.
constexpr int64_t kLeastSide = 32, kLeastDepth = 64;
constexpr int64_t kLeastMultiplications = int64_t{1} << 20;

/// One of the strides of a matrix is 1, and rows do not overlap.
bool has_unit_stride(const at::Tensor& x) { return x.stride(0) == 1 || x.stride(1) == 1; }

bool is_for_split_gemm(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  const int64_t m = a.size(0), k = a.size(1), n = b.size(1);
  if (m < kLeastSide || n < kLeastSide || k < kLeastDepth || m * n * k < kLeastMultiplications)
    return false;
  for (const at::Tensor* x : {&out, &a, &b}) {
    if (!x->is_cpu() || x->scalar_type() != at::kFloat || !has_unit_stride(*x)) return false;
  }
  return out.stride(1) == 1;
}

bool uses_split_gemm(kernels::Amx amx, const at::Tensor& out, const at::Tensor& a,
                     const at::Tensor& b) {
  return matmul_kernel(amx, kernels::has_split_gemm(), out, a, b) == MatmulKernel::kSplitGemm;
}

kernels::StridedMatrix matrix_of(const at::Tensor& x) {
  return {x.const_data_ptr<float>(), x.stride(0), x.stride(1)};
}

/// Threads share the rows of the result.
void split_gemm(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool accumulate) {
  constexpr int64_t kRowsOfAThread = 128;
  const kernels::StridedMatrix rows = matrix_of(a), columns = matrix_of(b);
  float* const c = out.data_ptr<float>();
  at::parallel_for(0, a.size(0), kRowsOfAThread, [&](int64_t begin, int64_t end) {
    kernels::split_gemm(
        {.a = {rows.data + begin * rows.row_stride, rows.row_stride, rows.column_stride},
         .b = columns,
         .c = c + begin * out.stride(0),
         .m = end - begin,
         .n = b.size(1),
         .k = a.size(1),
         .c_stride = out.stride(0),
         .accumulate = accumulate});
  });
}

}  // namespace

MatmulKernel matmul_kernel(kernels::Amx amx, bool has_tiles, const at::Tensor& out,
                           const at::Tensor& a, const at::Tensor& b) {
  const bool is_split = amx == kernels::Amx::kAuto && has_tiles && is_for_split_gemm(out, a, b);
  return is_split ? MatmulKernel::kSplitGemm : MatmulKernel::kLibTorch;
}

void multiply_into(kernels::Amx amx, at::Tensor out, const at::Tensor& a, const at::Tensor& b) {
  if (uses_split_gemm(amx, out, a, b)) return split_gemm(out, a, b, /*accumulate=*/false);
  if (out.scalar_type() != a.scalar_type()) {
    at::mm_out(out, a, b, out.scalar_type());
    return;
  }
  at::mm_out(out, a, b);
}

void multiply_onto(kernels::Amx amx, at::Tensor out, const at::Tensor& a, const at::Tensor& b) {
  if (uses_split_gemm(amx, out, a, b)) return split_gemm(out, a, b, /*accumulate=*/true);
  if (out.scalar_type() != a.scalar_type()) {
    at::addmm_out(out, out, a, b, out.scalar_type());
    return;
  }
  out.addmm_(a, b);
}

at::Tensor multiplied(kernels::Amx amx, const at::Tensor& a, const at::Tensor& b) {
  at::Tensor out = at::empty({a.size(0), b.size(1)}, a.options());
  multiply_into(amx, out, a, b);
  return out;
}

at::Tensor multiplied_widely(kernels::Amx amx, const at::Tensor& a, const at::Tensor& b) {
  at::Tensor out = at::empty({a.size(0), b.size(1)}, sums_of(a));
  multiply_into(amx, out, a, b);
  return out;
}

}  // namespace orrery::model
