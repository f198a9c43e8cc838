// Norms of rows and their gradients on GPUs, as models have them between matmuls:
//   y = (x - m) r (w + c) + b,  r = 1 / sqrt(mean((x - m)^2) + eps)
// with m = 0 for rms norm (Zhang and Sennrich 2019) and the row's mean for layer norm (Ba et al.
// 2016). T is the type of rows and weights, float, double or Bf16; statistics and sums are float
// beside Bf16 and T otherwise. Shape letters: N rows, H width.
#pragma once

#include <cstdint>

#include "orrery/kernels/bf16.h"
#include "orrery/kernels/column_sums.h"  // n_chunks
#include "orrery/kernels/gpu.h"          // cudaStream_t
#include "orrery/kernels/rms_norm.h"     // Output

namespace orrery::kernels {

/// All pointers are the GPU's.
template <class T>
struct NormRowsArgs {
  using Real = typename Arithmetic<T>::Type;
  const T* x = nullptr;       // [N, H]
  const T* added = nullptr;   // [N, H] x + added is normed; null: x is
  T* sum = nullptr;           // [N, H] x + added, may be x or added; null without `added`
  const T* weight = nullptr;  // [H]
  const T* bias = nullptr;    // [H]; null: none
  T* y = nullptr;             // [N, H]; may be x or added
  Real* rstd = nullptr;       // [N]; null: not wanted
  int64_t n_rows = 0;
  int64_t width = 0;
  double eps = 0;
  double weight_offset = 0;  // c: 1 in Gemma
  bool is_centered = false;  // layer norm
};

/// Asynchronous on `stream`. Throws CallError.
template <class T>
void norm_rows_cuda(const NormRowsArgs<T>& args, cudaStream_t stream);

/// All pointers are the GPU's.
template <class T>
struct NormRowsBackwardArgs {
  using Real = typename Arithmetic<T>::Type;
  const T* x = nullptr;        // [N, H] what was normed
  const T* weight = nullptr;   // [H]
  const Real* rstd = nullptr;  // [N] of the forward pass
  const T* dy = nullptr;       // [N, H]
  T* dx = nullptr;             // [N, H]; may be dy
  Real* dweight = nullptr;     // [H], added to
  Real* dbias = nullptr;       // [H], added to; null: none
  Real* scratch = nullptr;     // norm_rows_backward_scratch(n_rows, width) numbers
  int64_t n_rows = 0;
  int64_t width = 0;
  double weight_offset = 0;
  bool is_centered = false;
  Output dx_output = Output::kOverwrite;
};

constexpr int64_t norm_rows_backward_scratch(int64_t n_rows, int64_t width) {
  return n_chunks(n_rows) * 2 * width;
}

/// The same bits whenever the shape is the same. Asynchronous on `stream`. Throws CallError.
template <class T>
void norm_rows_backward_cuda(const NormRowsBackwardArgs<T>& args, cudaStream_t stream);

}  // namespace orrery::kernels
