// One block for up to 8 query heads that share a key/value head of a sequence, and for a split of
// its pages: every key and value is read once for all of them. 128 tokens at a time,
//
//   scores      a thread is a token: its dot products with the 8 queries (keys lie transposed, so
//               neighbouring threads read neighbouring numbers)
//   softmax     online: the largest so far, and by which factor older sums shrink
//   values      a thread is one or two of the head's dims: sums over the 128 tokens
//
// With more than one split the sums go to `partials` and a second program joins them.
// Sums are in float, in double with double.
#pragma once

#include <cmath>

#include "blocks/block.h"
#include "orrery/kernels/bf16.h"
#include "orrery/kernels/decode_attention.h"

namespace orrery::kernels::blocks {

inline constexpr int64_t kMaxHeadDim = 256;
/// Not -inf: the difference of two is a number.
constexpr float lowest_score() { return -3e38F; }

template <class T>
struct PagedAttentionArgs {
  using Real = typename Arithmetic<T>::Type;
  DecodeAttentionArgs<T> of = {};  // scratch is not used
  Real* partials = nullptr;        // [N, n_heads, n_splits, head_dim + 2]; not used with one split
  int64_t n_splits = 1;
};

/// After the sums of a head: the largest score they are relative to, and the sum of weights.
constexpr int64_t partial_size(int64_t head_dim) { return head_dim + 2; }

template <class T>
struct PagedAttentionProgram {
  using Args = PagedAttentionArgs<T>;
  using Real = typename Args::Real;
  static constexpr int kThreads = 128;
  static constexpr int kHeads = 8;
  static constexpr int kDims = static_cast<int>(kMaxHeadDim) / kThreads;
  static constexpr int64_t kPagesAtOnce = kThreads / kPageTokens;
  struct Shared {
    Real queries[kHeads][kMaxHeadDim];
    Real weights[kHeads][kThreads];
    Real tree[kHeads][kThreads];
    Real best[kHeads], factor[kHeads];
  };
  struct Sums {
    Real of[kHeads][kDims];
    Real weights[kHeads];
  };

  static int64_t head_chunks(const Args& args) {
    return ceil_div(args.of.n_heads / args.of.n_kv_heads, kHeads);
  }
  static int64_t n_blocks(const Args& args) {
    return args.of.n_sequences * args.of.n_kv_heads * head_chunks(args) * args.n_splits;
  }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const DecodeAttentionArgs<T>& of = args.of;
    const int64_t group = of.n_heads / of.n_kv_heads, chunks = ceil_div(group, kHeads);
    const int64_t d = of.head_dim, width = padded_head_dim(d);
    const int64_t split = block.index() % args.n_splits;
    const int64_t chunk = block.index() / args.n_splits % chunks;
    const int64_t kv = block.index() / (args.n_splits * chunks) % of.n_kv_heads;
    const int64_t s = block.index() / (args.n_splits * chunks * of.n_kv_heads);
    const int64_t head = kv * group + chunk * kHeads;
    const int heads = static_cast<int>(smaller_of(kHeads, group - chunk * kHeads));

    const int64_t n = of.n_context[s];
    const int64_t lowest = of.window > 0 ? larger_of(0, n - of.window) : 0;
    const int64_t first_page = lowest / kPageTokens, n_pages = ceil_div(n, kPageTokens);
    const int64_t rounds = ceil_div(n_pages - first_page, kPagesAtOnce);
    const int64_t rounds_of_split = ceil_div(rounds, args.n_splits);
    const int64_t first_round = split * rounds_of_split;
    const int64_t last_round = smaller_of(rounds, first_round + rounds_of_split);

    const int64_t table_row = of.table_rows == nullptr ? s : of.table_rows[s];
    const int32_t* const table = of.page_table + table_row * of.table_stride;
    const T* const pages = of.pages + kv * 2 * kPageTokens * width;
    const int64_t page_numbers = page_size(of.n_kv_heads, d);

    typename Block::template PerThread<Sums> sums;
    block.each([&](int thread) {
      const T* const q = of.q + s * of.q_stride + head * d;
      for (int64_t i = thread; i < heads * d; i += kThreads) {
        shared.queries[i / d][i % d] = Arithmetic<T>::from(q[i]) * static_cast<Real>(of.scale);
      }
      if (thread < kHeads) shared.best[thread] = lowest_score();
      sums[thread] = Sums{};
    });

    for (int64_t round = first_round; round < last_round; ++round) {
      const int64_t begin = (first_page + round * kPagesAtOnce) * kPageTokens;
      const int64_t from = larger_of(begin, lowest), to = smaller_of(begin + kThreads, n);
      block.each([&](int thread) {
        const int64_t token = begin + thread;
        Real scores[kHeads] = {};
        const bool is_seen = token >= from && token < to;
        if (is_seen) {
          const T* const keys =
              pages + table[token / kPageTokens] * page_numbers + token % kPageTokens;
          for (int64_t e = 0; e < d; ++e) {
            const Real key = Arithmetic<T>::from(keys[e * kPageTokens]);
            ORRERY_UNROLL
            for (int r = 0; r < kHeads; ++r) {
              if (r < heads) scores[r] += shared.queries[r][e] * key;
            }
          }
        }
        ORRERY_UNROLL
        for (int r = 0; r < kHeads; ++r) {
          if (r >= heads) continue;
          shared.weights[r][thread] = is_seen ? scores[r] : lowest_score();
          shared.tree[r][thread] = is_seen ? scores[r] : lowest_score();
        }
      });
      reduce_heads(block, shared, heads, Max<Real>());
      block.each([&](int thread) {
        if (thread >= heads) return;
        const Real best = Max<Real>()(shared.best[thread], shared.tree[thread][0]);
        shared.factor[thread] = std::exp(shared.best[thread] - best);
        shared.best[thread] = best;
      });
      block.each([&](int thread) {
        const int64_t token = begin + thread;
        const bool is_seen = token >= from && token < to;
        ORRERY_UNROLL
        for (int r = 0; r < kHeads; ++r) {
          if (r >= heads) continue;
          const Real weight =
              is_seen ? std::exp(shared.weights[r][thread] - shared.best[r]) : Real(0);
          shared.weights[r][thread] = weight;
          sums[thread].weights[r] = sums[thread].weights[r] * shared.factor[r] + weight;
        }
      });
      block.each([&](int thread) {
        ORRERY_UNROLL
        for (int j = 0; j < kDims; ++j) {
          const int64_t e = thread + j * kThreads;
          if (e >= d) continue;
          ORRERY_UNROLL
          for (int r = 0; r < kHeads; ++r) {
            if (r < heads) sums[thread].of[r][j] *= shared.factor[r];
          }
          for (int64_t token = from; token < to; ++token) {
            const T* const values = pages + table[token / kPageTokens] * page_numbers +
                                    (kPageTokens + token % kPageTokens) * width;
            const Real value = Arithmetic<T>::from(values[e]);
            ORRERY_UNROLL
            for (int r = 0; r < kHeads; ++r) {
              if (r < heads) sums[thread].of[r][j] += shared.weights[r][token - begin] * value;
            }
          }
        }
      });
    }

    block.each([&](int thread) {
      ORRERY_UNROLL
      for (int r = 0; r < kHeads; ++r) {
        if (r < heads) shared.tree[r][thread] = sums[thread].weights[r];
      }
    });
    reduce_heads(block, shared, heads, Sum<Real>());
    block.each([&](int thread) {
      ORRERY_UNROLL
      for (int r = 0; r < kHeads; ++r) {
        if (r >= heads) continue;
        Real* const partial =
            args.partials + ((s * of.n_heads + head + r) * args.n_splits + split) * partial_size(d);
        ORRERY_UNROLL
        for (int j = 0; j < kDims; ++j) {
          const int64_t e = thread + j * kThreads;
          if (e >= d) continue;
          if (args.n_splits == 1) {
            of.out[s * of.out_stride + (head + r) * d + e] =
                rounded(sums[thread].of[r][j] / shared.tree[r][0]);
          } else {
            partial[e] = sums[thread].of[r][j];
          }
        }
        if (args.n_splits > 1 && thread == 0) {
          partial[d] = shared.best[r];
          partial[d + 1] = shared.tree[r][0];
        }
      }
    });
  }

  ORRERY_BLOCK static T rounded(Real x) { return Arithmetic<T>::to(x); }

 private:
  /// tree[r][0] = tree[r][0] op ... op tree[r][kThreads - 1], all heads in the same steps.
  template <class Block, class Op>
  ORRERY_BLOCK static void reduce_heads(Block& block, Shared& shared, int heads, Op op) {
    for (int half = kThreads / 2; half > 0; half /= 2) {
      block.each([&](int thread) {
        if (thread >= half) return;
        for (int r = 0; r < heads; ++r) {
          shared.tree[r][thread] = op(shared.tree[r][thread], shared.tree[r][thread + half]);
        }
      });
    }
  }
};

/// One block for a head of a sequence: its splits become one answer.
template <class T>
struct JoinSplitsProgram {
  using Args = PagedAttentionArgs<T>;
  using Real = typename Args::Real;
  static constexpr int kThreads = 128;
  struct Shared {};

  static int64_t n_blocks(const Args& args) {
    return args.n_splits > 1 ? args.of.n_sequences * args.of.n_heads : 0;
  }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared&) {
    const DecodeAttentionArgs<T>& of = args.of;
    const int64_t d = of.head_dim, size = partial_size(d);
    const int64_t s = block.index() / of.n_heads, head = block.index() % of.n_heads;
    const Real* const partials = args.partials + block.index() * args.n_splits * size;
    block.each([&](int thread) {
      Real best = lowest_score();
      for (int64_t i = 0; i < args.n_splits; ++i) best = Max<Real>()(best, partials[i * size + d]);
      Real total = 0;
      for (int64_t i = 0; i < args.n_splits; ++i) {
        total += partials[i * size + d + 1] * std::exp(partials[i * size + d] - best);
      }
      for (int64_t e = thread; e < d; e += kThreads) {
        Real sum = 0;
        for (int64_t i = 0; i < args.n_splits; ++i) {
          sum += partials[i * size + e] * std::exp(partials[i * size + d] - best);
        }
        of.out[s * of.out_stride + head * d + e] = PagedAttentionProgram<T>::rounded(sum / total);
      }
    });
  }
};

}  // namespace orrery::kernels::blocks
