// Keys and values of new tokens into their pages (decode_attention.h has the layout), on GPUs. T:
// float, double or Bf16. Shape letters: N new tokens, S sequences.
#pragma once

#include <cstdint>

#include "orrery/kernels/bf16.h"
#include "orrery/kernels/gpu.h"  // cudaStream_t

namespace orrery::kernels {

/// All pointers are the GPU's.
template <class T>
struct WritePagesArgs {
  const T* k = nullptr;  // [N] rows kv_stride apart, each [n_kv_heads, head_dim]
  const T* v = nullptr;  // likewise
  int64_t kv_stride = 0;
  T* pages = nullptr;                   // page p at pages + p * page_size
  const int32_t* page_table = nullptr;  // [S] rows table_stride apart: pages in token order
  int64_t table_stride = 0;
  const int32_t* table_rows = nullptr;  // [N] the sequence of each token
  const int32_t* n_context = nullptr;   // [N] its tokens up to this one
  int64_t n_tokens = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
};

/// Asynchronous on `stream`. Throws CallError.
template <class T>
void write_pages_cuda(const WritePagesArgs<T>& args, cudaStream_t stream);

}  // namespace orrery::kernels
