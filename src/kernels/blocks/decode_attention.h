// One block for up to 8 query heads that share a key/value head of a sequence, and for a split of
// its pages: every key and value is read once for all of them, eight numbers in a load. 128 tokens
// at a time,
//
//   scores      a thread has half a page and each eighth dim: products of 8 keys, which lie beside
//               each other, with a number of each query; then a thread has a head and some tokens,
//               and joins the eighths
//   softmax     online: the largest so far, and by which factor older sums shrink
//   values      a thread has eight dims and some of the tokens: 8 values times a weight of each
//               head; threads are joined at the end
//
// Sums of 8 numbers by 8 heads stay in registers, so that a number from shared memory is used 8
// times: of a round with head_dim 128, threads load 1 number from there for each cached key and
// 1 for each value, and 1 more for each key to join the eighths (with a thread for a token or for a
// dim it would be 8 and 8).
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

/// Numbers that lie beside each other in a page, and that a thread reads in one load: 16 bytes of
/// Bf16.
inline constexpr int kAtOnce = 8;
template <class T>
struct alignas(16) Octet {
  T of[kAtOnce];
};
template <class T>
ORRERY_BLOCK Octet<T> octet_at(const T* from) {
  return *reinterpret_cast<const Octet<T>*>(from);
}

/// Query heads of a block at most: their sums are in registers.
template <class T>
inline constexpr int kMostHeads = sizeof(typename Arithmetic<T>::Type) == 4 ? 8 : 4;
/// For models in which no more query heads share a key.
inline constexpr int kFewHeads = 2;

template <class T, int n_heads>
struct PagedAttentionProgram {
  using Args = PagedAttentionArgs<T>;
  using Real = typename Args::Real;
  static constexpr int kThreads = 128;
  static constexpr int kHeads = n_heads;
  static constexpr int kResident = kHeads == 8 ? 3 : 0;       // blocks: loads that do not wait
  static constexpr int kPages = kThreads / int{kPageTokens};  // of a round
  static constexpr int kHalves = int{kPageTokens} / kAtOnce;  // of a page
  static constexpr int kDimParts = kThreads / (kPages * kHalves);
  static constexpr int kLanes = kThreads / kHeads;       // threads of a head, for its softmax
  static constexpr int kLaneTokens = kThreads / kLanes;  // of a round
  static constexpr int kAhead = 4;                       // loads before the first is used
  static constexpr int kPadding = 16;                    // parts lie in different banks
  struct Shared {
    Real queries[kHeads][kMaxHeadDim];  // 0 where there is no head or dim
    Real weights[kHeads][kThreads];     // scores at first; 0 where there is no token
    union {
      Real scores[kDimParts][kHeads * kThreads + kPadding];
      Real values[kHeads][kThreads][kAtOnce];
    };
    Real lanes[kHeads][kLanes];
    Real factor[kHeads];
    int64_t pages[kPages];  // where they begin
  };
  static_assert(sizeof(Shared) <= 48 * 1024);
  struct Sums {
    Real of[kHeads][kAtOnce];  // of values: the thread's dims
    Real best, weights;        // of the thread's head; the weights are those of its tokens
  };
  /// Of a sequence's pages, and tokens of them that are seen.
  struct Round {
    const int32_t* pages;
    int n_pages, from, to;
  };
  /// Of a block: a split of a sequence, and heads.
  struct Work {
    int64_t sequence, head, split;
    int heads;
    const T* cached;  // of page 0: keys of the key/value head, then values
    int64_t page_numbers, width;
    int octets, token_parts;  // threads beside each other have dims beside each other
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
    const Work work = work_of(args, block.index());
    const int64_t n = of.n_context[work.sequence];
    const int64_t lowest = of.window > 0 ? larger_of(0, n - of.window) : 0;
    const int64_t first_page = lowest / kPageTokens, n_pages = ceil_div(n, kPageTokens);
    const int64_t rounds = ceil_div(n_pages - first_page, kPages);
    const int64_t rounds_of_split = ceil_div(rounds, args.n_splits);
    const int64_t first_round = work.split * rounds_of_split;
    const int64_t last_round = smaller_of(rounds, first_round + rounds_of_split);
    const int64_t table_row =
        of.table_rows == nullptr ? work.sequence : of.table_rows[work.sequence];
    const int32_t* const table = of.page_table + table_row * of.table_stride;

    typename Block::template PerThread<Sums> sums;
    block.each([&](int thread) {
      const T* const q = of.q + work.sequence * of.q_stride + work.head * of.head_dim;
      for (int r = 0; r < kHeads; ++r) {
        for (int64_t e = thread; e < kMaxHeadDim; e += kThreads) {
          const bool is_one = r < work.heads && e < of.head_dim;
          shared.queries[r][e] =
              is_one ? Arithmetic<T>::from(q[r * of.head_dim + e]) * static_cast<Real>(of.scale)
                     : Real(0);
        }
      }
      sums[thread] = Sums{};
      sums[thread].best = lowest_score();
    });
    for (int64_t i = first_round; i < last_round; ++i) {
      const int64_t page = first_page + i * kPages, begin = page * kPageTokens;
      const Round round = {table + page, static_cast<int>(smaller_of(kPages, n_pages - page)),
                           static_cast<int>(larger_of(begin, lowest) - begin),
                           static_cast<int>(smaller_of(begin + kThreads, n) - begin)};
      score(block, shared, work, round, of.head_dim);
      weigh(block, shared, round, sums);
      add_values(block, shared, work, round, sums);
    }
    write(block, args, shared, work, sums);
  }

 private:
  ORRERY_BLOCK static Work work_of(const Args& args, int64_t index) {
    const DecodeAttentionArgs<T>& of = args.of;
    const int64_t group = of.n_heads / of.n_kv_heads, chunks = ceil_div(group, kHeads);
    Work work;
    work.split = index % args.n_splits;
    const int64_t chunk = index / args.n_splits % chunks;
    const int64_t kv = index / (args.n_splits * chunks) % of.n_kv_heads;
    work.sequence = index / (args.n_splits * chunks * of.n_kv_heads);
    work.head = kv * group + chunk * kHeads;
    work.heads = static_cast<int>(smaller_of(kHeads, group - chunk * kHeads));
    work.width = padded_head_dim(of.head_dim);
    work.page_numbers = page_size(of.n_kv_heads, of.head_dim);
    work.cached = of.pages + kv * 2 * kPageTokens * work.width;
    work.octets = static_cast<int>(work.width) / kAtOnce;
    work.token_parts = kThreads / work.octets;
    return work;
  }

  template <class Block>
  ORRERY_BLOCK static void score(Block& block, Shared& shared, const Work& work, const Round& round,
                                 int64_t d) {
    block.each([&](int thread) {
      if (thread < round.n_pages) shared.pages[thread] = round.pages[thread] * work.page_numbers;
      const int half = thread % kHalves, part = thread / kHalves % kDimParts;
      const int page = thread / (kHalves * kDimParts);
      const int first = (page * kHalves + half) * kAtOnce;  // token
      if (first >= round.to || first + kAtOnce <= round.from) return;
      const T* const keys = work.cached + round.pages[page] * work.page_numbers + half * kAtOnce;
      Real scores[kHeads][kAtOnce] = {};
      for (int64_t begin = part; begin < d; begin += kAhead * kDimParts) {
        Octet<T> octets[kAhead];
        ORRERY_UNROLL
        for (int i = 0; i < kAhead; ++i) {
          const int64_t e = begin + i * kDimParts;
          octets[i] = e < d ? octet_at(keys + e * kPageTokens) : Octet<T>{};
        }
        ORRERY_UNROLL
        for (int i = 0; i < kAhead; ++i) {
          ORRERY_UNROLL
          for (int r = 0; r < kHeads; ++r) {
            const Real query = shared.queries[r][begin + i * kDimParts];
            ORRERY_UNROLL
            for (int k = 0; k < kAtOnce; ++k) {
              scores[r][k] += query * Arithmetic<T>::from(octets[i].of[k]);
            }
          }
        }
      }
      ORRERY_UNROLL
      for (int r = 0; r < kHeads; ++r) {
        ORRERY_UNROLL
        for (int k = 0; k < kAtOnce; ++k) {
          shared.scores[part][r * kThreads + first + k] = scores[r][k];
        }
      }
    });
  }

  template <class Block>
  ORRERY_BLOCK static void weigh(Block& block, Shared& shared, const Round& round,
                                 typename Block::template PerThread<Sums>& sums) {
    block.each([&](int thread) {
      const int r = thread / kLanes, lane = thread % kLanes;
      Real best = lowest_score();
      ORRERY_UNROLL
      for (int k = 0; k < kLaneTokens; ++k) {
        const int token = lane + k * kLanes;
        Real sum = lowest_score();
        if (token >= round.from && token < round.to) {
          sum = 0;
          ORRERY_UNROLL
          for (int part = 0; part < kDimParts; ++part) {
            sum += shared.scores[part][r * kThreads + token];
          }
        }
        shared.weights[r][token] = sum;
        best = Max<Real>()(best, sum);
      }
      shared.lanes[r][lane] = best;
    });
    block.each([&](int thread) {
      const int r = thread / kLanes, lane = thread % kLanes;
      Sums& own = sums[thread];
      Real best = own.best;
      ORRERY_UNROLL
      for (int other = 0; other < kLanes; ++other) {
        best = Max<Real>()(best, shared.lanes[r][other]);
      }
      const Real factor = std::exp(own.best - best);
      if (lane == 0) shared.factor[r] = factor;
      own.best = best;
      own.weights *= factor;
      ORRERY_UNROLL
      for (int k = 0; k < kLaneTokens; ++k) {
        Real& weight = shared.weights[r][lane + k * kLanes];
        weight = std::exp(weight - best);
        own.weights += weight;
      }
    });
  }

  template <class Block>
  ORRERY_BLOCK static void add_values(Block& block, Shared& shared, const Work& work,
                                      const Round& round,
                                      typename Block::template PerThread<Sums>& sums) {
    block.each([&](int thread) {
      if (thread >= work.octets * work.token_parts) return;
      Sums& own = sums[thread];
      ORRERY_UNROLL
      for (int r = 0; r < kHeads; ++r) {
        const Real factor = shared.factor[r];
        ORRERY_UNROLL
        for (int j = 0; j < kAtOnce; ++j) own.of[r][j] *= factor;
      }
      const int part = thread / work.octets;
      const T* const values =
          work.cached + kPageTokens * work.width + thread % work.octets * kAtOnce;
      for (int begin = part; begin < round.to; begin += kAhead * work.token_parts) {
        Octet<T> octets[kAhead];
        ORRERY_UNROLL
        for (int i = 0; i < kAhead; ++i) {
          const int token = begin + i * work.token_parts;
          const bool is_seen = token >= round.from && token < round.to;
          octets[i] = is_seen ? octet_at(values + shared.pages[token / int{kPageTokens}] +
                                         token % int{kPageTokens} * work.width)
                              : Octet<T>{};
        }
        ORRERY_UNROLL
        for (int i = 0; i < kAhead; ++i) {
          const int token = begin + i * work.token_parts;
          if (token >= round.to) continue;
          ORRERY_UNROLL
          for (int r = 0; r < kHeads; ++r) {
            const Real weight = shared.weights[r][token];
            ORRERY_UNROLL
            for (int j = 0; j < kAtOnce; ++j) {
              own.of[r][j] += weight * Arithmetic<T>::from(octets[i].of[j]);
            }
          }
        }
      }
    });
  }

  /// Joins what threads have of the same dims.
  template <class Block>
  ORRERY_BLOCK static void write(Block& block, const Args& args, Shared& shared, const Work& work,
                                 typename Block::template PerThread<Sums>& sums) {
    block.each([&](int thread) {
      const Sums& own = sums[thread];
      ORRERY_UNROLL
      for (int r = 0; r < kHeads; ++r) {
        ORRERY_UNROLL
        for (int j = 0; j < kAtOnce; ++j) shared.values[r][thread][j] = own.of[r][j];
      }
      const int r = thread / kLanes, lane = thread % kLanes;
      shared.lanes[r][lane] = own.weights;
      if (lane == 0) shared.factor[r] = own.best;
    });
    const int64_t d = args.of.head_dim, size = partial_size(d);
    block.each([&](int thread) {
      for (int r = 0; r < work.heads; ++r) {
        Real weights = 0;
        for (int lane = 0; lane < kLanes; ++lane) weights += shared.lanes[r][lane];
        T* const out = args.of.out + work.sequence * args.of.out_stride + (work.head + r) * d;
        const int64_t row = work.sequence * args.of.n_heads + work.head + r;
        Real* const partial = args.partials + (row * args.n_splits + work.split) * size;
        for (int e = thread; e < d; e += kThreads) {
          Real sum = 0;
          for (int part = 0; part < work.token_parts; ++part) {
            sum += shared.values[r][part * work.octets + e / kAtOnce][e % kAtOnce];
          }
          if (args.n_splits == 1) {
            out[e] = Arithmetic<T>::to(sum / weights);
          } else {
            partial[e] = sum;
          }
        }
        if (args.n_splits == 1 || thread != 0) continue;
        partial[d] = shared.factor[r];
        partial[d + 1] = weights;
      }
    });
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
        of.out[s * of.out_stride + head * d + e] = Arithmetic<T>::to(sum / total);
      }
    });
  }
};

template <class T, class Runner>
void paged_attention(const PagedAttentionArgs<T>& args, const Runner& runner) {
  if (args.of.n_heads / args.of.n_kv_heads <= kFewHeads) {
    runner.template run<PagedAttentionProgram<T, kFewHeads>>(args);
  } else {
    runner.template run<PagedAttentionProgram<T, kMostHeads<T>>>(args);
  }
  runner.template run<JoinSplitsProgram<T>>(args);
}

}  // namespace orrery::kernels::blocks
