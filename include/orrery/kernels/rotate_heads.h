// Query and key heads before attention on GPUs: each normed where the model has that (rms norm over
// a head), then turned by its position (Su et al. 2021, in the halves convention of Hugging Face:
// element d of a head with element d + D/2). T: float, double or Bf16. Shape letters: T tokens, Q
// query heads, K key heads, D head_dim (even).
#pragma once

#include <cstdint>

#include "orrery/kernels/bf16.h"
#include "orrery/kernels/column_sums.h"  // n_chunks
#include "orrery/kernels/gpu.h"          // cudaStream_t

namespace orrery::kernels {

/// What both passes know. All pointers are the GPU's.
template <class T>
struct HeadsArgs {
  using Real = typename Arithmetic<T>::Type;
  const T* x = nullptr;                // [T] rows x_stride apart: Q D of queries, K D of keys
  const int32_t* positions = nullptr;  // [T]; null without cosines
  const Real* cosines = nullptr;       // [positions, D / 2]; null: nothing turns
  const Real* sines = nullptr;         // likewise
  const T* query_weight = nullptr;     // [D]; null: no norms
  const T* key_weight = nullptr;       // likewise
  Real* rstd = nullptr;                // [T, Q] and behind it [T, K]; written by rotate_heads_cuda
                                       // where not null, read by its gradient; null without norms
  int64_t n_tokens = 0;
  int64_t n_heads = 0;     // Q
  int64_t n_kv_heads = 0;  // K
  int64_t head_dim = 0;    // D
  int64_t x_stride = 0;
  double eps = 0;
  double weight_offset = 0;  // added to each weight: 1 in Gemma
};

template <class T>
struct RotateHeadsArgs {
  HeadsArgs<T> heads;
  T* y = nullptr;  // [T] rows y_stride apart; may be x
  int64_t y_stride = 0;
};

/// Asynchronous on `stream`. Throws CallError.
template <class T>
void rotate_heads_cuda(const RotateHeadsArgs<T>& args, cudaStream_t stream);

template <class T>
struct RotateHeadsBackwardArgs {
  using Real = typename Arithmetic<T>::Type;
  HeadsArgs<T> heads;
  T* gradient = nullptr;  // [T] rows gradient_stride apart: by y on entry, by x on return
  int64_t gradient_stride = 0;
  Real* dquery_weight = nullptr;  // [D], added to; null without norms
  Real* dkey_weight = nullptr;    // likewise
  Real* scratch = nullptr;        // rotate_heads_backward_scratch(T, D) numbers; null likewise
};

constexpr int64_t rotate_heads_backward_scratch(int64_t n_tokens, int64_t head_dim) {
  return 2 * n_chunks(n_tokens) * head_dim;
}

/// The same bits whenever the shape is the same. Asynchronous on `stream`. Throws CallError.
template <class T>
void rotate_heads_backward_cuda(const RotateHeadsBackwardArgs<T>& args, cudaStream_t stream);

}  // namespace orrery::kernels
