// Packed causal attention. For each sequence and key/value head the keys are transposed into panels
// once; then a tile of queries at a time gets all their scores, one softmax over the whole row (a
// row of 4096 floats is 16 KiB), and their sum of values. No online rescaling.
#pragma once

#include "orrery/kernels/varlen_attention.h"
#include "target/tile.h"

namespace orrery::kernels::ORRERY_KERNEL_TARGET {

/// Numbers of scratch for sequences up to max_length.
template <class T>
ORRERY_INLINE int64_t attention_forward_scratch(const AttentionShape& shape, int64_t max_length) {
  const int64_t keys = round_up(max_length, kPanel<T>);
  const int64_t width = round_up(shape.head_dim, kPanel<T>);
  return keys * shape.head_dim + keys * width + kTileRows * keys;
}

template <class T>
ORRERY_INLINE int64_t attention_backward_scratch(const AttentionShape& shape, int64_t max_length) {
  const int64_t keys = round_up(max_length, kPanel<T>);
  const int64_t width = round_up(shape.head_dim, kPanel<T>);
  return 2 * keys * shape.head_dim + 3 * keys * width + 2 * kTileRows * keys +
         2 * kTileRows * width;
}

#if ORRERY_VECTOR_BYTES == 64
/// Lanes of two registers for a transposition by halves: step s swaps the off-diagonal s x s blocks
/// of each 2s x 2s block.
template <class T>
struct TransposeLanes {
  static constexpr int kSteps = kLanes<T> == 16 ? 4 : 3;
  typedef IntVec<T> Lanes;
  Lanes low[kSteps], high[kSteps];

  ORRERY_INLINE TransposeLanes() {
    for (int step = 0; step < kSteps; ++step) {
      const int64_t s = int64_t{1} << step;
      for (int64_t i = 0; i < kLanes<T>; ++i) {
        low[step][i] = (i & s) == 0 ? i : kLanes<T> + i - s;
        high[step][i] = (i & s) == 0 ? i + s : kLanes<T> + i;
      }
    }
  }
};

/// Rows of one head, transposed: [panel of rows][d][kPanel], the last panel filled up with zeros.
template <class T>
ORRERY_INLINE void transpose_rows(const T* rows, int64_t stride, int64_t n, int64_t head_dim,
                                  T* panels) {
  static_assert(kPanel<T> == kLanes<T>);
  const TransposeLanes<T> lanes;
  for (int64_t begin = 0; begin < n; begin += kPanel<T>) {
    T* panel = panels + begin * head_dim;
    const int64_t count = smaller(kPanel<T>, n - begin);
    for (int64_t d = 0; d < head_dim; d += kLanes<T>) {
      const int64_t width = smaller(kLanes<T>, head_dim - d);
      Vec<T> r[kLanes<T>];
#pragma GCC unroll 16
      for (int64_t j = 0; j < kLanes<T>; ++j) {
        r[j] = j < count ? load_first(rows + (begin + j) * stride + d, width) : Vec<T>{};
      }
#pragma GCC unroll 4
      for (int step = 0; step < TransposeLanes<T>::kSteps; ++step) {
        const int64_t s = int64_t{1} << step;
#pragma GCC unroll 16
        for (int64_t j = 0; j < kLanes<T>; ++j) {
          if ((j & s) != 0) continue;
          const Vec<T> a = r[j], b = r[j + s];
          r[j] = __builtin_shuffle(a, b, lanes.low[step]);
          r[j + s] = __builtin_shuffle(a, b, lanes.high[step]);
        }
      }
#pragma GCC unroll 16
      for (int64_t j = 0; j < kLanes<T>; ++j) {
        if (j < width) store<T>(panel + (d + j) * kPanel<T>, r[j]);
      }
    }
  }
}
#else
/// Rows of one head, transposed: [panel of rows][d][kPanel], the last panel filled up with zeros.
template <class T>
ORRERY_INLINE void transpose_rows(const T* rows, int64_t stride, int64_t n, int64_t head_dim,
                                  T* panels) {
  for (int64_t begin = 0; begin < n; begin += kPanel<T>) {
    T* panel = panels + begin * head_dim;
    const int64_t count = smaller(kPanel<T>, n - begin);
    for (int64_t j = 0; j < count; ++j) {
      const T* row = rows + (begin + j) * stride;
      for (int64_t d = 0; d < head_dim; ++d) panel[d * kPanel<T> + j] = row[d];
    }
    for (int64_t j = count; j < kPanel<T>; ++j) {
      for (int64_t d = 0; d < head_dim; ++d) panel[d * kPanel<T> + j] = T(0);
    }
  }
}
#endif

template <class T>
struct Rows {
  const T* data;
  int64_t stride;
};

/// The same rows with at least `width` readable numbers each: themselves, or a copy with zeros.
template <class T>
ORRERY_INLINE Rows<T> padded_rows(Rows<T> rows, int64_t n, int64_t head_dim, int64_t width,
                                  T* copy) {
  if (head_dim == width) return rows;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t d = 0; d < head_dim; ++d) copy[i * width + d] = rows.data[i * rows.stride + d];
    for (int64_t d = head_dim; d < width; ++d) copy[i * width + d] = T(0);
  }
  return {copy, width};
}

/// The keys that a block of queries meets: [first, last), both ends in whole panels but for the
/// end of the sequence.
struct KeyRange {
  int64_t first_panel_key;  // where the first panel starts
  int64_t last;             // one past the last query of the block
  int64_t padded_last;      // `last` in whole panels
};

template <class T>
ORRERY_INLINE KeyRange keys_of_block(int64_t query, int64_t rows, int64_t window) {
  const int64_t lowest = window > 0 ? larger(0, query - window + 1) : 0;
  const int64_t last = query + rows;
  return {lowest / kPanel<T> * kPanel<T>, last, round_up(last, kPanel<T>)};
}

/// a (R rows) times the transposed panels of a range: out[r * out_stride + key] * scale.
template <class T, int R>
ORRERY_INLINE void multiply_panels(const T* a, int64_t a_stride, const T* panels, int64_t head_dim,
                                   const KeyRange& keys, T scale, T* out, int64_t out_stride) {
  for (int64_t key = keys.first_panel_key; key < keys.padded_last; key += kPanel<T>) {
    Vec<T> c[R][kPanelVecs] = {};
    multiply_tile<T, R, 1>({.a = a,
                            .a_stride = a_stride,
                            .b = {panels + key * head_dim},
                            .b_stride = kPanel<T>,
                            .k = head_dim},
                           c);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int i = 0; i < kPanelVecs; ++i) {
        store<T>(out + r * out_stride + key + i * kLanes<T>, c[r][i] * scale);
      }
    }
  }
}

/// weights (R rows over keys) times rows of values: out[r][d] = sum * factor[r], d < head_dim.
template <class T, int R>
ORRERY_INLINE void multiply_rows(const T* weights, int64_t weight_stride, Rows<T> values,
                                 const KeyRange& keys, const T (&factor)[R], int64_t head_dim,
                                 T* out, int64_t out_stride) {
  const int64_t first = keys.first_panel_key;
  for (int64_t d = 0; d < head_dim; d += kPanel<T>) {
    Vec<T> c[R][kPanelVecs] = {};
    multiply_tile<T, R, 1>({.a = weights + first,
                            .a_stride = weight_stride,
                            .b = {values.data + first * values.stride + d},
                            .b_stride = values.stride,
                            .k = keys.last - first},
                           c);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      T* to = out + r * out_stride + d;
#pragma GCC unroll 2
      for (int i = 0; i < kPanelVecs; ++i) {
        const int64_t left = head_dim - d - i * kLanes<T>;
        if (left > 0) store_first<T>(to + i * kLanes<T>, c[r][i] * factor[r], left);
      }
    }
  }
}

/// Sets what query `query` does not see, inside the computed range, to `value`.
template <class T>
ORRERY_INLINE void fill_unseen(T* row, int64_t query, int64_t window, const KeyRange& keys,
                               T value) {
  if (window > 0) {
    const int64_t lowest = larger(0, query - window + 1);
    for (int64_t key = keys.first_panel_key; key < lowest; ++key) row[key] = value;
  }
  for (int64_t key = query + 1; key < keys.padded_last; ++key) row[key] = value;
}

template <class T, int R>
void attend_block(const VarlenAttentionArgs<T>& args, int64_t start, int64_t query, int64_t head,
                  const T* key_panels, Rows<T> values, T* scores, int64_t score_stride) {
  const AttentionShape& shape = args.shape;
  const int64_t d = shape.head_dim;
  const KeyRange keys = keys_of_block<T>(query, R, shape.window);
  multiply_panels<T, R>(args.q + (start + query) * args.q_stride + head * d, args.q_stride,
                        key_panels, d, keys, static_cast<T>(shape.scale), scores, score_stride);
  T inverse_total[R];
  for (int r = 0; r < R; ++r) {
    T* row = scores + r * score_stride;
    fill_unseen(row, query + r, shape.window, keys, -static_cast<T>(__builtin_inf()));
    Vec<T> bests = load(row + keys.first_panel_key);
    for (int64_t key = keys.first_panel_key; key < keys.padded_last; key += kLanes<T>) {
      bests = vmax(bests, load(row + key));
    }
    const T best = largest<T>(bests);
    Vec<T> totals{};
    for (int64_t key = keys.first_panel_key; key < keys.padded_last; key += kLanes<T>) {
      const Vec<T> e = vexp<T>(load(row + key) - best);
      totals += e;
      store<T>(row + key, e);
    }
    const T total = sum(totals);
    inverse_total[r] = T(1) / total;
    if (args.logsumexp != nullptr) {
      args.logsumexp[(start + query + r) * shape.n_heads + head] = best + scalar_log(total);
    }
  }
  multiply_rows<T, R>(scores, score_stride, values, keys, inverse_total, d,
                      args.out + (start + query) * args.out_stride + head * d, args.out_stride);
}

template <class T>
void varlen_attention(const VarlenAttentionArgs<T>& args, T* scratch, int64_t max_length) {
  const AttentionShape& shape = args.shape;
  const int64_t d = shape.head_dim, width = round_up(d, kPanel<T>);
  const int64_t max_keys = round_up(max_length, kPanel<T>);
  const int64_t group = shape.n_heads / shape.n_kv_heads;
  T* key_panels = scratch;
  T* value_copy = key_panels + max_keys * d;
  T* scores = value_copy + max_keys * width;
  for (int64_t s = 0; s < shape.n_sequences; ++s) {
    const int64_t start = shape.cu_seqlens[s], n = shape.cu_seqlens[s + 1] - start;
    for (int64_t kv = 0; kv < shape.n_kv_heads; ++kv) {
      transpose_rows(args.k + start * args.k_stride + kv * d, args.k_stride, n, d, key_panels);
      const Rows<T> values = padded_rows<T>(
          {args.v + start * args.v_stride + kv * d, args.v_stride}, n, d, width, value_copy);
      for (int64_t head = kv * group; head < (kv + 1) * group; ++head) {
        for (int64_t query = 0; query < n; query += kTileRows) {
          with_rows(smaller(kTileRows, n - query), [&]<int R>() {
            attend_block<T, R>(args, start, query, head, key_panels, values, scores, max_keys);
          });
        }
      }
    }
  }
}

/// out[key] += sum over R rows of weight[r][key] * row[r], for the keys of a range.
template <class T, int R>
ORRERY_INLINE void add_outer_products(const T* weights, int64_t weight_stride, Rows<T> rows,
                                      const KeyRange& keys, int64_t width, T* out) {
  for (int64_t d = 0; d < width; d += kPanel<T>) {
    Vec<T> row[R][kPanelVecs];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int i = 0; i < kPanelVecs; ++i) {
        row[r][i] = load(rows.data + r * rows.stride + d + i * kLanes<T>);
      }
    }
    for (int64_t key = keys.first_panel_key; key < keys.last; ++key) {
      T* to = out + key * width + d;
      Vec<T> sums[kPanelVecs];
#pragma GCC unroll 2
      for (int i = 0; i < kPanelVecs; ++i) sums[i] = load(to + i * kLanes<T>);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const Vec<T> weight = splat(weights[r * weight_stride + key]);
#pragma GCC unroll 2
        for (int i = 0; i < kPanelVecs; ++i) sums[i] += weight * row[r][i];
      }
#pragma GCC unroll 2
      for (int i = 0; i < kPanelVecs; ++i) store<T>(to + i * kLanes<T>, sums[i]);
    }
  }
}

/// Where the backward pass of one key/value head of one sequence keeps its pieces.
template <class T>
struct BackwardScratch {
  T* key_panels;
  T* value_panels;
  T* key_copy;
  T* dk;  // [n, width]
  T* dv;  // [n, width]
  T* probs;
  T* dscores;
  T* query_copy;
  T* dout_copy;
  int64_t score_stride;
  int64_t width;
};

/// With P the probabilities, dP = dO V^T and delta = sum(dO * O): dS = P (dP - delta) * scale,
/// dQ = dS K, dK += dS^T Q, dV += P^T dO.
template <class T, int R>
void attend_block_backward(const VarlenAttentionBackwardArgs<T>& args, int64_t start, int64_t query,
                           int64_t head, Rows<T> key_rows, const BackwardScratch<T>& scratch) {
  const AttentionShape& shape = args.shape;
  const int64_t d = shape.head_dim, stride = scratch.score_stride;
  const KeyRange keys = keys_of_block<T>(query, R, shape.window);
  const T scale = static_cast<T>(shape.scale);
  const T* q = args.q + (start + query) * args.q_stride + head * d;
  const T* dout = args.dout + (start + query) * args.dout_stride + head * d;
  const T* out = args.out + (start + query) * args.out_stride + head * d;
  multiply_panels<T, R>(q, args.q_stride, scratch.key_panels, d, keys, scale, scratch.probs,
                        stride);
  multiply_panels<T, R>(dout, args.dout_stride, scratch.value_panels, d, keys, T(1),
                        scratch.dscores, stride);
  T ones[R];
  for (int r = 0; r < R; ++r) {
    ones[r] = T(1);
    T* probs = scratch.probs + r * stride;
    T* dscores = scratch.dscores + r * stride;
    fill_unseen(probs, query + r, shape.window, keys, -static_cast<T>(__builtin_inf()));
    const T lse = args.logsumexp[(start + query + r) * shape.n_heads + head];
    const T delta = dot(dout + r * args.dout_stride, out + r * args.out_stride, d);
    for (int64_t key = keys.first_panel_key; key < keys.padded_last; key += kLanes<T>) {
      const Vec<T> p = vexp<T>(load(probs + key) - lse);
      store<T>(probs + key, p);
      store<T>(dscores + key, p * (load(dscores + key) - delta) * scale);
    }
  }
  multiply_rows<T, R>(scratch.dscores, stride, key_rows, keys, ones, d,
                      args.dq + (start + query) * args.dq_stride + head * d, args.dq_stride);
  const Rows<T> q_rows =
      padded_rows<T>({q, args.q_stride}, R, d, scratch.width, scratch.query_copy);
  const Rows<T> dout_rows =
      padded_rows<T>({dout, args.dout_stride}, R, d, scratch.width, scratch.dout_copy);
  add_outer_products<T, R>(scratch.dscores, stride, q_rows, keys, scratch.width, scratch.dk);
  add_outer_products<T, R>(scratch.probs, stride, dout_rows, keys, scratch.width, scratch.dv);
}

template <class T>
void varlen_attention_backward(const VarlenAttentionBackwardArgs<T>& args, T* memory,
                               int64_t max_length) {
  const AttentionShape& shape = args.shape;
  const int64_t d = shape.head_dim, width = round_up(d, kPanel<T>);
  const int64_t max_keys = round_up(max_length, kPanel<T>);
  const int64_t group = shape.n_heads / shape.n_kv_heads;
  BackwardScratch<T> scratch;
  scratch.key_panels = memory;
  scratch.value_panels = scratch.key_panels + max_keys * d;
  scratch.key_copy = scratch.value_panels + max_keys * d;
  scratch.dk = scratch.key_copy + max_keys * width;
  scratch.dv = scratch.dk + max_keys * width;
  scratch.probs = scratch.dv + max_keys * width;
  scratch.dscores = scratch.probs + kTileRows * max_keys;
  scratch.query_copy = scratch.dscores + kTileRows * max_keys;
  scratch.dout_copy = scratch.query_copy + kTileRows * width;
  scratch.score_stride = max_keys;
  scratch.width = width;
  for (int64_t s = 0; s < shape.n_sequences; ++s) {
    const int64_t start = shape.cu_seqlens[s], n = shape.cu_seqlens[s + 1] - start;
    for (int64_t kv = 0; kv < shape.n_kv_heads; ++kv) {
      const T* k = args.k + start * args.k_stride + kv * d;
      const T* v = args.v + start * args.v_stride + kv * d;
      transpose_rows(k, args.k_stride, n, d, scratch.key_panels);
      transpose_rows(v, args.v_stride, n, d, scratch.value_panels);
      const Rows<T> key_rows = padded_rows<T>({k, args.k_stride}, n, d, width, scratch.key_copy);
      for (int64_t i = 0; i < n * width; ++i) scratch.dk[i] = scratch.dv[i] = T(0);
      for (int64_t head = kv * group; head < (kv + 1) * group; ++head) {
        for (int64_t query = 0; query < n; query += kTileRows) {
          with_rows(smaller(kTileRows, n - query), [&]<int R>() {
            attend_block_backward<T, R>(args, start, query, head, key_rows, scratch);
          });
        }
      }
      for (int64_t i = 0; i < n; ++i) {
        T* dk = args.dk + (start + i) * args.dk_stride + kv * d;
        T* dv = args.dv + (start + i) * args.dv_stride + kv * d;
        for (int64_t j = 0; j < d; ++j) dk[j] = scratch.dk[i * width + j];
        for (int64_t j = 0; j < d; ++j) dv[j] = scratch.dv[i * width + j];
      }
    }
  }
}

}  // namespace orrery::kernels::ORRERY_KERNEL_TARGET
