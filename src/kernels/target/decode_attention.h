// One query per sequence over paged keys and values: scores of all pages, one softmax, the sum of
// values. The query heads of one key/value head go through a page together.
#pragma once

#include "orrery/kernels/decode_attention.h"
#include "target/tile.h"

namespace orrery::kernels::ORRERY_KERNEL_TARGET {

/// The pages of one sequence, for one key/value head, and those that come next.
template <class T>
struct HeadPages {
  const T* pages;
  const int32_t* table;
  const int32_t* next_table;
  int64_t page_numbers;
  int64_t offset;       // of the head's keys in a page
  int64_t next_offset;  // of the next head's, in the pages of next_table
  int64_t width;        // padded head_dim

  ORRERY_INLINE const T* keys(int64_t page) const {
    return pages + table[page] * page_numbers + offset;
  }
  ORRERY_INLINE const T* values(int64_t page) const { return keys(page) + kPageTokens * width; }
  /// From a number of a page to the one in its place of the page that is read next.
  ORRERY_INLINE int64_t ahead(int64_t page) const {
    return (int64_t{next_table[page]} - table[page]) * page_numbers + next_offset - offset;
  }
};

/// scores[r * stride + key] of R heads for P panels of keys, from key `first` on. Several panels at
/// a time: one head alone would wait for its own sums.
template <class T, int R, int P>
ORRERY_INLINE void score_panels(const DecodeAttentionArgs<T>& args, const HeadPages<T>& pages,
                                const T* q, int64_t first, T* scores, int64_t stride) {
  Vec<T> c[R][kPanelVecs * P] = {};
  TileInput<T, P> in{
      .a = q, .a_stride = args.head_dim, .b = {}, .b_stride = kPageTokens, .k = args.head_dim};
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
    const int64_t key = first + p * kPanel<T>;
    in.b[p] = pages.keys(key / kPageTokens) + key % kPageTokens;
  }
  in.ahead = pages.ahead(first / kPageTokens);  // that of the first page for all: mostly right
  multiply_tile<T, R, P, Prefetch::kAhead>(in, c);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < kPanelVecs * P; ++j) {
      store<T>(scores + r * stride + first + j * kLanes<T>, c[r][j] * static_cast<T>(args.scale));
    }
  }
}

/// c[r][...] += a[r * stride] * b[...]: one key's part in R heads' sums.
template <class T, int R, int P>
ORRERY_INLINE void add_values(const T* a, int64_t stride, const T* b,
                              Vec<T> (&c)[R][kPanelVecs * P]) {
  Vec<T> values[kPanelVecs * P];
#pragma GCC unroll 8
  for (int j = 0; j < kPanelVecs * P; ++j) values[j] = load(b + j * kLanes<T>);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const Vec<T> weight = splat(a[r * stride]);
#pragma GCC unroll 8
    for (int j = 0; j < kPanelVecs * P; ++j) c[r][j] += weight * values[j];
  }
}

/// out[r][column...] of R heads for P panels of columns: the sum of values over all pages.
template <class T, int R, int P>
ORRERY_INLINE void sum_values(const HeadPages<T>& pages, int64_t first_page, int64_t n_pages,
                              const T* weights, int64_t stride, const T (&factor)[R],
                              int64_t column, int64_t head_dim, T* out) {
  // Where registers are left, two sums of each number, over the first and the second halves of the
  // pages: one would wait for itself.
  constexpr bool kTwoSums = R * kPanelVecs * P <= 6;
  Vec<T> c[R][kPanelVecs * P] = {}, other[R][kPanelVecs * P] = {};
  auto& second = kTwoSums ? other : c;
  for (int64_t page = first_page; page < n_pages; ++page) {
    const T* a = weights + page * kPageTokens;
    const T* b = pages.values(page) + column;
    const T* next = b + pages.ahead(page);
    for (int64_t k = 0; k < kPageTokens / 2; ++k) {
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        const int64_t at = k * pages.width + p * kPanel<T>;
        __builtin_prefetch(next + at, 0, 2);
        __builtin_prefetch(next + at + kPageTokens / 2 * pages.width, 0, 2);
      }
      add_values<T, R, P>(a + k, stride, b + k * pages.width, c);
      add_values<T, R, P>(a + kPageTokens / 2 + k, stride, b + (kPageTokens / 2 + k) * pages.width,
                          second);
    }
  }
  if constexpr (kTwoSums) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < kPanelVecs * P; ++j) c[r][j] += other[r][j];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < kPanelVecs * P; ++j) {
      const int64_t at = column + j * kLanes<T>;
      if (at < head_dim)
        store_first<T>(out + r * head_dim + at, c[r][j] * factor[r], head_dim - at);
    }
  }
}

template <class T, int R>
void decode_heads(const DecodeAttentionArgs<T>& args, int64_t s, int64_t kv, int64_t head) {
  constexpr int kAtOnce = kPanelsBeside<R> >= 4 ? 4 : kPanelsBeside<R>;
  const int64_t d = args.head_dim, width = padded_head_dim(d);
  const int64_t head_numbers = 2 * kPageTokens * width;
  const bool last_head = kv + 1 == args.n_kv_heads;
  const int64_t next_s = last_head && s + 1 < args.n_sequences ? s + 1 : s;
  const HeadPages<T> pages{.pages = args.pages,
                           .table = args.page_table + s * args.table_stride,
                           .next_table = args.page_table + next_s * args.table_stride,
                           .page_numbers = page_size(args.n_kv_heads, d),
                           .offset = kv * head_numbers,
                           .next_offset = last_head ? 0 : (kv + 1) * head_numbers,
                           .width = width};
  const int64_t n = args.n_context[s];
  const int64_t lowest = args.window > 0 ? larger(0, n - args.window) : 0;
  const int64_t first_page = lowest / kPageTokens;
  const int64_t n_pages = (n + kPageTokens - 1) / kPageTokens;
  const int64_t begin = first_page * kPageTokens, stride = n_pages * kPageTokens;
  const T* q = args.q + s * args.q_stride + head * d;
  T* scores = args.scratch;
  int64_t key = begin;
  for (; key + kAtOnce * kPanel<T> <= stride; key += kAtOnce * kPanel<T>) {
    score_panels<T, R, kAtOnce>(args, pages, q, key, scores, stride);
  }
  for (; key < stride; key += kPanel<T>) score_panels<T, R, 1>(args, pages, q, key, scores, stride);

  T inverse_total[R];
  for (int r = 0; r < R; ++r) {
    T* row = scores + r * stride;
    for (int64_t i = begin; i < lowest; ++i) row[i] = -static_cast<T>(__builtin_inf());
    for (int64_t i = n; i < stride; ++i) row[i] = -static_cast<T>(__builtin_inf());
    Vec<T> bests = load(row + begin);
    for (int64_t i = begin; i < stride; i += kLanes<T>) bests = vmax(bests, load(row + i));
    const T best = largest<T>(bests);
    Vec<T> totals{};
    for (int64_t i = begin; i < stride; i += kLanes<T>) {
      const Vec<T> e = vexp<T>(load(row + i) - best);
      totals += e;
      store<T>(row + i, e);
    }
    inverse_total[r] = T(1) / sum(totals);
  }

  T* out = args.out + s * args.out_stride + head * d;
  int64_t column = 0;
  for (; column + kAtOnce * kPanel<T> <= width; column += kAtOnce * kPanel<T>) {
    sum_values<T, R, kAtOnce>(pages, first_page, n_pages, scores, stride, inverse_total, column, d,
                              out);
  }
  if constexpr (kAtOnce == 4) {
    for (; column + 2 * kPanel<T> <= width; column += 2 * kPanel<T>) {
      sum_values<T, R, 2>(pages, first_page, n_pages, scores, stride, inverse_total, column, d,
                          out);
    }
  }
  for (; column < width; column += kPanel<T>) {
    sum_values<T, R, 1>(pages, first_page, n_pages, scores, stride, inverse_total, column, d, out);
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
