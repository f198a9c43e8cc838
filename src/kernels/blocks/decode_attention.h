// The queries are there, or made from a product's row with the new key and value (new_token.h). A
// context is cut into parts (cut_of()), and a block has one of them, or some, for up to 8 query
// heads that share a key/value head: every key and value is read once for all of them, eight
// numbers in a load. 128 tokens at a time,
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
// Where there are several parts their sums go to `partials`, and the block that is done last joins
// them, in their order. So a row's bits follow from its own context, whatever the other rows, the
// number of blocks and who is done when. Sums are in float, in double with double.
#pragma once

#include <cmath>

#include "blocks/attention_parts.h"
#include "blocks/tensor_attention.h"

namespace orrery::kernels::blocks {

/// Query heads of a block at most: their sums are in registers.
template <class T>
inline constexpr int kMostHeads = sizeof(typename Arithmetic<T>::Type) == 4 ? 8 : 4;
/// For models in which no more query heads share a key.
inline constexpr int kFewHeads = 2;

template <class T, int n_heads>
struct PagedAttentionProgram {
  using Parts = AttentionInParts<T, PagedAttentionProgram>;
  using Args = PagedAttentionArgs<T>;
  using Real = typename Args::Real;
  using Work = AttentionWork<T>;
  using Round = AttentionRound;
  static constexpr int kThreads = int{kAttentionRound};
  static constexpr int kHeads = n_heads;
  static constexpr int kDims = int{kMaxHeadDim};
  static constexpr int kResident = kHeads == 8 ? 3 : 0;       // blocks: loads that do not wait
  static constexpr int kPages = kThreads / int{kPageTokens};  // of a round
  static constexpr int kHalves = int{kPageTokens} / kAtOnce;  // of a page
  static constexpr int kDimParts = kThreads / (kPages * kHalves);
  static constexpr int kLanes = kThreads / kHeads;  // threads of a head, for its softmax
  static constexpr int kAhead = 4;                  // loads before the first is used
  static constexpr int kPadding = 16;               // parts lie in different banks
  struct Shared {
    Real queries[kHeads][kMaxHeadDim];  // 0 where there is no head or dim
    Real weights[kHeads][kThreads];     // scores at first; 0 where there is no token
    union {
      Real scores[kDimParts][kHeads * kThreads + kPadding];
      Real values[kHeads][kThreads][kAtOnce];
      NewHeadsScratch<Real, kHeads> heads;
      JoinScratch<Real, kHeads> joining;
    };
    Real lanes[kHeads][kLanes];
    Real factor[kHeads], best[kHeads];
    int64_t pages[kPages];  // where they begin
  };
  static_assert(sizeof(Shared) <= 48 * 1024);
  struct Sums {
    Real of[kHeads][kAtOnce];  // of values: the thread's dims
    Real best, weights;        // of the thread's head; the weights are those of its tokens
  };

  static int64_t n_blocks(const Args& args) { return Parts::n_blocks(args); }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    Parts::run(block, args, shared);
  }

  template <class Block>
  ORRERY_BLOCK static void load_queries(Block& block, const Args& args, Shared& shared,
                                        const Work& work, const ContextCut& cut) {
    Parts::put_queries(block, args, shared, work, cut, [&](int r, int e, T q) {
      shared.queries[r][e] = Arithmetic<T>::from(q) * static_cast<Real>(args.of.scale);
    });
  }

  template <class Block>
  ORRERY_BLOCK static void add_round(Block& block, const DecodeAttentionArgs<T>& of, Shared& shared,
                                     const Work& work, const Round& round,
                                     typename Block::template PerThread<Sums>& sums) {
    score(block, shared, work, round, of.head_dim);
    Parts::weigh(block, shared, round, sums);
    add_values(block, shared, work, round, sums);
  }
  ORRERY_BLOCK static Real score_of(const Shared& shared, int r, int token) {
    Real sum = 0;
    ORRERY_UNROLL
    for (int part = 0; part < kDimParts; ++part) sum += shared.scores[part][r * kThreads + token];
    return sum;
  }

  template <class Block>
  ORRERY_BLOCK static void keep_sums(Block& block, Shared& shared,
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
      if (lane == 0) shared.best[r] = own.best;
    });
  }

  /// Joins what threads have of a dim.
  ORRERY_BLOCK static Real sum_of(const Shared& shared, const Work& work, int r, int e) {
    Real sum = 0;
    for (int i = 0; i < token_parts_of(work); ++i) {
      sum += shared.values[r][i * octets_of(work) + e / kAtOnce][e % kAtOnce];
    }
    return sum;
  }

 private:
  /// Threads beside each other have dims beside each other.
  ORRERY_BLOCK static int octets_of(const Work& work) {
    return static_cast<int>(work.width) / kAtOnce;
  }
  ORRERY_BLOCK static int token_parts_of(const Work& work) { return kThreads / octets_of(work); }

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
  ORRERY_BLOCK static void add_values(Block& block, Shared& shared, const Work& work,
                                      const Round& round,
                                      typename Block::template PerThread<Sums>& sums) {
    block.each([&](int thread) {
      const int octets_of_token = octets_of(work), token_parts = token_parts_of(work);
      if (thread >= octets_of_token * token_parts) return;
      Sums& own = sums[thread];
      ORRERY_UNROLL
      for (int r = 0; r < kHeads; ++r) {
        const Real factor = shared.factor[r];
        ORRERY_UNROLL
        for (int j = 0; j < kAtOnce; ++j) own.of[r][j] *= factor;
      }
      const int part = thread / octets_of_token;
      const T* const values =
          work.cached + kPageTokens * work.width + thread % octets_of_token * kAtOnce;
      for (int begin = part; begin < round.to; begin += kAhead * token_parts) {
        Octet<T> octets[kAhead];
        ORRERY_UNROLL
        for (int i = 0; i < kAhead; ++i) {
          const int token = begin + i * token_parts;
          const bool is_seen = token >= round.from && token < round.to;
          octets[i] = is_seen ? octet_at(values + shared.pages[token / int{kPageTokens}] +
                                         token % int{kPageTokens} * work.width)
                              : Octet<T>{};
        }
        ORRERY_UNROLL
        for (int i = 0; i < kAhead; ++i) {
          const int token = begin + i * token_parts;
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
};

template <class T, class Runner>
void paged_attention(const DecodeAttentionArgs<T>& of, const NewTokens<T>& tokens,
                     const AttentionParts<T>& parts, const Runner& runner,
                     TensorCores tensor_cores) {
  if constexpr (sizeof(T) == 2) {
    if (tensor_cores == TensorCores::kBf16 && of.n_heads / of.n_kv_heads >= kTensorHeads) {
      return tensor_attention(of, tokens, parts, runner);
    }
  }
  if (of.n_heads / of.n_kv_heads <= kFewHeads) {
    paged_attention_of<PagedAttentionProgram<T, kFewHeads>>(of, tokens, parts, runner);
  } else {
    paged_attention_of<PagedAttentionProgram<T, kMostHeads<T>>>(of, tokens, parts, runner);
  }
}

}  // namespace orrery::kernels::blocks
