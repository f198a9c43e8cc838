// Causal attention over packed sequences without padding, with grouped key/value heads and an
// optional sliding window. Forward keeps one number per query and head, the log of the sum of its
// exponentials; backward makes the probabilities again from it.
// Shape letters: T packed tokens, N sequences, Q query heads, K key/value heads, D head_dim.
#pragma once

#include <cstdint>

#include "orrery/kernels/bf16.h"
#include "orrery/kernels/gpu.h"  // cudaStream_t

namespace orrery::kernels {

/// Sizes and strides that forward and backward share. A row is one token; its heads are contiguous.
struct AttentionShape {
  const int32_t* cu_seqlens = nullptr;  // [N + 1]
  int64_t n_sequences = 0;
  int64_t n_tokens = 0;  // T; on GPUs
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;  // divides n_heads
  int64_t head_dim = 0;
  int64_t window = 0;  // a query sees itself and the window - 1 tokens before it; 0: all
  double scale = 1;    // of the scores
};

/// T: float or double, on GPUs also Bf16, whose sums are float.
template <class T>
struct VarlenAttentionArgs {
  using Real = typename Arithmetic<T>::Type;
  AttentionShape shape = {};
  const T* q = nullptr;  // [T, Q, D], rows q_stride apart
  const T* k = nullptr;  // [T, K, D], rows k_stride apart
  const T* v = nullptr;  // [T, K, D], rows v_stride apart
  int64_t q_stride = 0, k_stride = 0, v_stride = 0;
  T* out = nullptr;  // [T, Q, D], rows out_stride apart
  int64_t out_stride = 0;
  Real* logsumexp = nullptr;  // [T, Q]; null: not wanted
};

/// Local; any thread. Work and memory of the longest sequence: O(n D) scratch, allocated here.
template <class T>
void varlen_attention(const VarlenAttentionArgs<T>& args);

template <class T>
struct VarlenAttentionBackwardArgs {
  using Real = typename Arithmetic<T>::Type;
  AttentionShape shape = {};
  const T* q = nullptr;  // as in forward
  const T* k = nullptr;
  const T* v = nullptr;
  int64_t q_stride = 0, k_stride = 0, v_stride = 0;
  const T* out = nullptr;   // [T, Q, D] of forward
  const T* dout = nullptr;  // [T, Q, D]
  int64_t out_stride = 0, dout_stride = 0;
  const Real* logsumexp = nullptr;  // [T, Q] of forward
  T* dq = nullptr;                  // [T, Q, D], written
  T* dk = nullptr;                  // [T, K, D], written
  T* dv = nullptr;                  // [T, K, D], written
  int64_t dq_stride = 0, dk_stride = 0, dv_stride = 0;
};

template <class T>
void varlen_attention_backward(const VarlenAttentionBackwardArgs<T>& args);

/// The same with all pointers the GPU's, head_dim at most 256; the same bits in every run.
/// Asynchronous on `stream`. Throws CallError, ShapeError.
template <class T>
void varlen_attention_cuda(const VarlenAttentionArgs<T>& args, cudaStream_t stream);
template <class T>
void varlen_attention_backward_cuda(const VarlenAttentionBackwardArgs<T>& args,
                                    cudaStream_t stream);

}  // namespace orrery::kernels
