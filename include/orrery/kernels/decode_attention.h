// Attention of one new token of each sequence over its paged keys and values.
//
// A page holds kPageTokens tokens of one layer, for all key/value heads: for each head first the
// keys, transposed to [padded D, kPageTokens] so that one load meets 8 keys, then the values
// [kPageTokens, padded D]. padded D is head_dim rounded up to kPageTokens; the padding is zero.
#pragma once

#include <cstdint>

#include "orrery/kernels/bf16.h"
#include "orrery/kernels/gpu.h"  // cudaStream_t
#include "orrery/kernels/rotate_heads.h"

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

// On a GPU a context is cut into parts of some rounds, so that few sequences fill it too. How
// depends on nothing but the context's own length, hence a row's bits do so as well.

/// Tokens that a block looks at together.
inline constexpr int64_t kAttentionRound = 128;
inline constexpr int64_t kMostAttentionParts = 32;

constexpr int64_t rounds_of_attention_part(int64_t n_rounds) {
  const int64_t rounds = (n_rounds + kMostAttentionParts - 1) / kMostAttentionParts;
  return rounds < 2 ? 2 : rounds;
}
/// Of contexts up to `max_context` tokens, at most.
constexpr int64_t most_attention_parts(int64_t max_context) {
  const int64_t rounds = (max_context + kAttentionRound - 1) / kAttentionRound;
  const int64_t parts = (rounds + 1) / 2;
  return parts < 1 ? 1 : parts < kMostAttentionParts ? parts : kMostAttentionParts;
}
/// Sums of a part, the largest score they are relative to, and the sum of weights.
constexpr int64_t partial_size(int64_t head_dim) { return head_dim + 2; }

/// A decoding step's new tokens, one of each sequence, as the product of their rows gives them, for
/// the kernel that attends with them: bias, norms and rotation of heads are those of
/// rotate_heads.h. All pointers are the GPU's.
template <class T>
struct NewTokens {
  HeadsArgs<T> heads;       // x: queries, keys, values; not written. rstd is not
  const T* bias = nullptr;  // [(Q + 2 K) D], added first; null: none
  T* pages = nullptr;       // where keys and values go: those that are attended to
};

/// Scratch of the GPU for `n_rows` at a time: more rows than that go one launch after another.
template <class T>
struct AttentionParts {
  /// [n_rows, n_heads, most_attention_parts(), partial_size()]
  typename Arithmetic<T>::Type* partials = nullptr;
  int32_t* n_done = nullptr;  // [n_rows, n_heads] zeros, and zeros again when it is done
  int64_t n_rows = 0;         // at least 1
};

/// Rows of scratch that are enough for `n_rows`: no more than 64 MiB of float, but one.
constexpr int64_t attention_scratch_rows(int64_t n_rows, int64_t n_heads, int64_t head_dim,
                                         int64_t max_context) {
  constexpr int64_t kMostNumbers = int64_t{1} << 24;
  const int64_t row = n_heads * most_attention_parts(max_context) * partial_size(head_dim);
  const int64_t rows = kMostNumbers / row < 1 ? 1 : kMostNumbers / row;
  return rows < n_rows ? rows : n_rows;
}

/// The same on a GPU, pages of float, double or Bf16, head_dim at most 256; sums of Bf16 are in
/// float. All pointers are the GPU's, `scratch` is not used; no context is longer than
/// table_stride pages. Asynchronous on `stream`. Throws CallError, ShapeError.
template <class T>
void decode_attention_cuda(const DecodeAttentionArgs<T>& args, const AttentionParts<T>& parts,
                           cudaStream_t stream);

/// The same of new tokens: `args.q` is not read, the last token of each context is the new one.
template <class T>
void decode_new_tokens_cuda(const DecodeAttentionArgs<T>& args, const NewTokens<T>& tokens,
                            const AttentionParts<T>& parts, cudaStream_t stream);

}  // namespace orrery::kernels
