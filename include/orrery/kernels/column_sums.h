// Sums of the columns of a matrix on GPUs, as gradients of biases are. Shape letters: N rows, H
// columns.
#pragma once

#include <cstdint>

#include "orrery/kernels/bf16.h"
#include "orrery/kernels/gpu.h"  // cudaStream_t

namespace orrery::kernels {

/// How kernels that sum over rows cut them: by their number alone, so that sums are the same in
/// every run. Enough chunks for every multiprocessor of today's GPUs, few enough that their sums
/// stay in the L2 cache.
constexpr int64_t rows_per_chunk(int64_t n_rows) {
  return n_rows <= 256 ? 1 : (n_rows + 255) / 256;
}
constexpr int64_t n_chunks(int64_t n_rows) {
  return (n_rows + rows_per_chunk(n_rows) - 1) / rows_per_chunk(n_rows);
}

/// All pointers are the GPU's. T: float, double or Bf16, whose sums are float.
template <class T>
struct ColumnSumsArgs {
  using Sum = typename Arithmetic<T>::Type;
  const T* rows = nullptr;  // [N, H]
  Sum* sums = nullptr;      // [H], added to
  Sum* scratch = nullptr;   // column_sums_scratch(n_rows, width) numbers
  int64_t n_rows = 0;
  int64_t width = 0;
};

constexpr int64_t column_sums_scratch(int64_t n_rows, int64_t width) {
  return n_chunks(n_rows) * width;
}

/// The same bits whenever the shape is the same. Asynchronous on `stream`. Throws CallError.
template <class T>
void add_column_sums_cuda(const ColumnSumsArgs<T>& args, cudaStream_t stream);

}  // namespace orrery::kernels
