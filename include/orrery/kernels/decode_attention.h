// Attention of one new token of each sequence over its paged keys and values.
//
// A page holds kPageTokens tokens of one layer, for all key/value heads: for each head first the
// keys, transposed to [padded D, kPageTokens] so that one load meets 8 keys, then the values
// [kPageTokens, padded D]. padded D is head_dim rounded up to kPageTokens; the padding is zero.
#pragma once

#include <cstdint>

#include "orrery/kernels/bf16.h"
#include "orrery/kernels/gpu.h"  // cudaStream_t

namespace orrery::kernels {

inline constexpr int64_t kPageTokens = 16;

constexpr int64_t padded_head_dim(int64_t head_dim) {
  return (head_dim + kPageTokens - 1) / kPageTokens * kPageTokens;
}
/// Numbers in a page.
constexpr int64_t page_size(int64_t n_kv_heads, int64_t head_dim) {
  return n_kv_heads * 2 * kPageTokens * padded_head_dim(head_dim);
}

template <class T>
struct PageWriteArgs {
  const T* k = nullptr;  // [n_kv_heads, head_dim] of one token
  const T* v = nullptr;
  T* page = nullptr;  // zeroed when it was taken
  int64_t slot = 0;   // in [0, kPageTokens)
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
};

/// Puts the key and value of one token into its place. Local; any thread.
template <class T>
void write_page_slot(const PageWriteArgs<T>& args);

template <class T>
struct DecodeAttentionArgs {
  const T* q = nullptr;  // [N, n_heads, head_dim], rows q_stride apart
  int64_t q_stride = 0;
  const T* pages = nullptr;             // page p at pages + p * page_size; aligned to 16 bytes
  const int32_t* page_table = nullptr;  // [N] rows table_stride apart: pages in token order
  int64_t table_stride = 0;
  const int32_t* table_rows = nullptr;  // [N] the row of page_table of each; null: its own. GPUs
  const int32_t* n_context = nullptr;   // [N] tokens to attend to, the new one included; >= 1
  T* out = nullptr;                     // [N, n_heads, head_dim], rows out_stride apart
  int64_t out_stride = 0;
  T* scratch = nullptr;  // decode_attention_scratch() numbers
  int64_t n_sequences = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t window = 0;  // as in AttentionShape
  double scale = 1;
};

/// Numbers of scratch for contexts up to `max_context` tokens.
int64_t decode_attention_scratch(int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,
                                 int64_t max_context);

/// The result for a sequence does not depend on the others. Allocates nothing.
template <class T>
void decode_attention(const DecodeAttentionArgs<T>& args);

/// Into how many parts the pages of each sequence are cut on a GPU: more blocks where sequences and
/// key/value heads are too few to fill it.
template <class T>
struct AttentionSplits {
  int64_t count = 1;
  /// [N, n_heads, count, head_dim + 2] of the GPU; not used with one
  typename Arithmetic<T>::Type* partials = nullptr;
};

/// The same on a GPU, pages of float, double or Bf16, head_dim at most 256; sums of Bf16 are in
/// float. All pointers are the GPU's, `scratch` is not used. Asynchronous on `stream`. Throws
/// CallError, ShapeError.
template <class T>
void decode_attention_cuda(const DecodeAttentionArgs<T>& args, const AttentionSplits<T>& splits,
                           cudaStream_t stream);

}  // namespace orrery::kernels
