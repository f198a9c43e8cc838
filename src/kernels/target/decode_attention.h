// One query per sequence over paged keys and values: scores of all pages, one softmax, the sum of
// values. The query heads of one key/value head go through a page together.
#pragma once

#include "orrery/kernels/decode_attention.h"
#include "target/tile.h"

namespace orrery::kernels::ORRERY_KERNEL_TARGET {

/// Scores of R heads over the pages [first_page, n_pages): scores[r * stride + key].
template <class T, int R>
ORRERY_INLINE void score_pages(const DecodeAttentionArgs<T>& args, const int32_t* table,
                               int64_t first_page, int64_t n_pages, const T* q, int64_t kv_offset,
                               T* scores, int64_t stride) {
  const int64_t d = args.head_dim, page_numbers = page_size(args.n_kv_heads, d);
  for (int64_t page = first_page; page < n_pages; ++page) {
    const T* keys = args.pages + table[page] * page_numbers + kv_offset;
    for (int64_t key = 0; key < kPageTokens; key += kPanel<T>) {
      Vec<T> c[R][2] = {};
      multiply_tile<T, R, 1>(
          {.a = q, .a_stride = d, .b = keys + key, .b_stride = kPageTokens, .b_panel = 0, .k = d},
          c);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        T* to = scores + r * stride + page * kPageTokens + key;
        store<T>(to, c[r][0] * static_cast<T>(args.scale));
        store<T>(to + kLanes<T>, c[r][1] * static_cast<T>(args.scale));
      }
    }
  }
}

template <class T, int R>
void decode_heads(const DecodeAttentionArgs<T>& args, int64_t s, int64_t kv, int64_t head) {
  const int64_t d = args.head_dim, width = padded_head_dim(d);
  const int64_t page_numbers = page_size(args.n_kv_heads, d);
  const int64_t kv_offset = kv * 2 * kPageTokens * width;
  const int64_t n = args.n_context[s];
  const int64_t lowest = args.window > 0 ? larger(0, n - args.window) : 0;
  const int64_t first_page = lowest / kPageTokens;
  const int64_t n_pages = (n + kPageTokens - 1) / kPageTokens;
  const int64_t stride = n_pages * kPageTokens;
  const int32_t* table = args.page_table + s * args.table_stride;
  T* scores = args.scratch;
  score_pages<T, R>(args, table, first_page, n_pages, args.q + s * args.q_stride + head * d,
                    kv_offset, scores, stride);

  T inverse_total[R];
  for (int r = 0; r < R; ++r) {
    T* row = scores + r * stride;
    const int64_t begin = first_page * kPageTokens;
    for (int64_t key = begin; key < lowest; ++key) row[key] = -static_cast<T>(__builtin_inf());
    for (int64_t key = n; key < stride; ++key) row[key] = -static_cast<T>(__builtin_inf());
    Vec<T> bests = load(row + begin);
    for (int64_t key = begin; key < stride; key += kLanes<T>) bests = vmax(bests, load(row + key));
    const T best = largest<T>(bests);
    Vec<T> totals{};
    for (int64_t key = begin; key < stride; key += kLanes<T>) {
      const Vec<T> e = vexp<T>(load(row + key) - best);
      totals += e;
      store<T>(row + key, e);
    }
    inverse_total[r] = T(1) / sum(totals);
  }

  for (int64_t column = 0; column < d; column += kPanel<T>) {
    Vec<T> c[R][2] = {};
    for (int64_t page = first_page; page < n_pages; ++page) {
      const T* values =
          args.pages + table[page] * page_numbers + kv_offset + kPageTokens * width + column;
      multiply_tile<T, R, 1>({.a = scores + page * kPageTokens,
                              .a_stride = stride,
                              .b = values,
                              .b_stride = width,
                              .b_panel = 0,
                              .k = kPageTokens},
                             c);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      T* to = args.out + s * args.out_stride + (head + r) * d + column;
      const int64_t left = d - column;
      store_first<T>(to, c[r][0] * inverse_total[r], smaller(left, kLanes<T>));
      if (left > kLanes<T>) {
        store_first<T>(to + kLanes<T>, c[r][1] * inverse_total[r], left - kLanes<T>);
      }
    }
  }
}

template <class T>
void decode_attention(const DecodeAttentionArgs<T>& args) {
  const int64_t group = args.n_heads / args.n_kv_heads;
  for (int64_t s = 0; s < args.n_sequences; ++s) {
    for (int64_t kv = 0; kv < args.n_kv_heads; ++kv) {
      for (int64_t i = 0; i < group; i += kTileRows) {
        with_rows(smaller(kTileRows, group - i),
                  [&]<int R>() { decode_heads<T, R>(args, s, kv, kv * group + i); });
      }
    }
  }
}

}  // namespace orrery::kernels::ORRERY_KERNEL_TARGET
