// One block a token.
#pragma once

#include "blocks/block.h"
#include "orrery/kernels/decode_attention.h"  // page_size
#include "orrery/kernels/write_pages.h"

namespace orrery::kernels::blocks {

template <class T>
struct WritePagesProgram {
  using Args = WritePagesArgs<T>;
  static constexpr int kThreads = 128;
  struct Shared {};

  static int64_t n_blocks(const Args& args) { return args.n_tokens; }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared&) {
    const int64_t token = block.index(), position = args.n_context[token] - 1;
    const int32_t* const table = args.page_table + args.table_rows[token] * args.table_stride;
    const int64_t d = args.head_dim, width = padded_head_dim(d), slot = position % kPageTokens;
    T* const page = args.pages + table[position / kPageTokens] * page_size(args.n_kv_heads, d);
    const T* const k = args.k + token * args.kv_stride;
    const T* const v = args.v + token * args.kv_stride;
    block.each([&](int thread) {
      for (int64_t i = thread; i < args.n_kv_heads * d; i += kThreads) {
        T* const head = page + i / d * 2 * kPageTokens * width;
        head[i % d * kPageTokens + slot] = k[i];
        head[(kPageTokens + slot) * width + i % d] = v[i];
      }
    });
  }
};

}  // namespace orrery::kernels::blocks
