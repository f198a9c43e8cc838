// Rows by their numbers on GPUs: embeddings, packing of experts' tokens, and their gradients. T:
// float, double or Bf16. Shape letters: n rows of the call, H width.
#pragma once

#include <cstdint>

#include "orrery/kernels/bf16.h"
#include "orrery/kernels/gpu.h"       // cudaStream_t
#include "orrery/kernels/rms_norm.h"  // Output

namespace orrery::kernels {

/// out's row i = row rows[i] of x, or plus it. All pointers are the GPU's.
template <class T>
struct TakeRowsArgs {
  const T* x = nullptr;           // [any, H]
  const int64_t* rows = nullptr;  // [n]; negative: a row of zeros
  T* out = nullptr;               // [n, H]
  int64_t n_rows = 0;
  int64_t width = 0;
  Output output = Output::kOverwrite;
};
template <class T>
void take_rows_cuda(const TakeRowsArgs<T>& args, cudaStream_t stream);

/// out's row rows[i] = row i of x. All pointers are the GPU's.
template <class T>
struct PutRowsArgs {
  const T* x = nullptr;           // [n, H]
  const int64_t* rows = nullptr;  // [n] distinct
  T* out = nullptr;               // [any, H]
  int64_t n_rows = 0;
  int64_t width = 0;
};
template <class T>
void put_rows_cuda(const PutRowsArgs<T>& args, cudaStream_t stream);

/// out's row targets[s] += the sum, in the order of `order`, of rows order[starts[s]] to
/// order[starts[s + 1] - 1] of x, each times its scale. One segment a target, so that the sums are
/// the same in every run; on fp32 and fp64 they have the bits of a loop over the rows. All pointers
/// are the GPU's. G: the type of `out`, that of T or the one its arithmetic is done in.
template <class T, class G>
struct AddRowsArgs {
  using Scale = typename Arithmetic<T>::Type;
  const T* x = nullptr;              // [n, H]
  const int64_t* order = nullptr;    // [n] rows of x, segment after segment
  const int64_t* starts = nullptr;   // [n_segments + 1]
  const int64_t* targets = nullptr;  // [n_segments] distinct rows of out
  const Scale* scales = nullptr;     // number places[row] for a row of x; null: 1
  const int64_t* places = nullptr;   // [n]; null with scales
  G* out = nullptr;                  // [any, H]
  int64_t n_segments = 0;
  int64_t width = 0;
};
template <class T, class G>
void add_rows_cuda(const AddRowsArgs<T, G>& args, cudaStream_t stream);

/// Calls X(T, G) for every pair of types of add_rows_cuda.
#define ORRERY_ADD_ROWS_TYPES(X) X(float, float) X(double, double) X(Bf16, Bf16) X(Bf16, float)

}  // namespace orrery::kernels
