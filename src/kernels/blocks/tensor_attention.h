// Attention over pages (attention_parts.h) on tensor cores: bf16, up to 8 query heads for a
// key/value head. A product's column is a query head, so that 8 of them fill it; its rows are
// tokens (scores) or dims (values). What a row or a product's inner index stands for is free as
// long as both factors agree, so it is chosen such that a thread's 16-byte loads are fragments
// after half of each two words is exchanged, and a warp's loads are whole lines:
//
//   scores   a warp has each fourth 16 dims of 128 tokens. Product j of 8: row g is token j of half
//            page g; inner indices 2 q, 2 q + 1, 2 q + 8, 2 q + 9 are dims q, q + 4, q + 8, q + 12
//   values   a warp has two pages. Product j of 4 for each 64 dims: row g is dim j of octet g, row
//            g + 8 dim j + 4; inner indices likewise tokens q, q + 4, q + 8, q + 12
//
// Sums are in float. Queries, keys and values are bf16 as they are; a weight is the sum of two such
// numbers, for which there are two products: tensor cores have time.
#pragma once

#include <cstring>  // memcpy

#include "blocks/attention_parts.h"

namespace orrery::kernels::blocks {

/// What a GPU has: products of bf16 from compute capability 8.0 on.
enum class TensorCores { kNone, kBf16 };
/// Query heads that share a key, from which on it is worth it.
inline constexpr int64_t kTensorHeads = 4;

/// An octet, two numbers a word.
struct Words {
  uint32_t of[kAtOnce / 2];
};
ORRERY_BLOCK Words words_at(const Bf16* from) {
  const Octet<Bf16> octet = octet_at(from);
  Words words;
  memcpy(&words, &octet, sizeof words);
  return words;
}
/// Number i of either octet, that of x in the lower half.
ORRERY_BLOCK uint32_t pair_of(const Words& x, const Words& y, int i) {
  const uint32_t a = x.of[i / 2], b = y.of[i / 2];
  return i % 2 == 0 ? (a & 0xffffU) | b << 16U : a >> 16U | (b & 0xffff0000U);
}
ORRERY_BLOCK uint32_t rounded_pair(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return to_bf16(low).bits | static_cast<uint32_t>(to_bf16(high).bits) << 16U;
#endif
}

ORRERY_BLOCK float number_of(uint32_t pair, int i) {
  return to_float({static_cast<uint16_t>(i == 0 ? pair & 0xffffU : pair >> 16U)});
}

/// head_dim at most 64 n_sets.
template <int n_sets>
struct TensorAttentionProgram {
  using Parts = AttentionInParts<Bf16, TensorAttentionProgram>;
  using Args = PagedAttentionArgs<Bf16>;
  using Work = AttentionWork<Bf16>;
  using Round = AttentionRound;
  static constexpr int kThreads = int{kAttentionRound};
  static constexpr int kHeads = 8;
  static constexpr int kResident = n_sets == 4 ? 2 : 3;  // blocks: registers for all sets
  static constexpr int kLanes = kThreads / kHeads;
  static constexpr int kWarps = kThreads / kWarp;
  static constexpr int kDims = 64 * n_sets;
  static constexpr int kInner = 16;   // of a product
  static constexpr int kPadding = 8;  // heads lie in different banks
  static constexpr int kPagesOfWarp = kThreads / int{kPageTokens} / kWarps;
  struct Shared {
    alignas(16) Bf16 queries[kHeads][kDims + kPadding];  // by place_of(); 0 where there is none
    float weights[kHeads][kThreads];                     // scores at first; 0 where no token is
    union {
      float scores[kWarps][kHeads][kThreads + kPadding / 2];
      float values[kWarps][kHeads][kDims];
      NewHeadsScratch<float, kHeads> heads;
      JoinScratch<float, kHeads> joining;
    };
    float lanes[kHeads][kLanes];
    float factor[kHeads], best[kHeads];
  };
  static_assert(sizeof(Shared) <= 48 * 1024);
  struct Sums {
    float of[n_sets][4][4];  // of values: products of each 64 dims
    float best, weights;     // of the thread's head, as elsewhere
  };
  /// Factors of 8 products, or of 4 for each set.
  template <int n>
  struct Factors {
    uint32_t a[n][4], b[2];
    uint32_t rest[2];  // of weights: what b lacks
  };
  struct Scores {
    float of[kAtOnce][4];
  };

  static int64_t n_blocks(const Args& args) { return Parts::n_blocks(args); }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    Parts::run(block, args, shared);
  }

  template <class Block>
  ORRERY_BLOCK static void load_queries(Block& block, const Args& args, Shared& shared,
                                        const Work& work, const ContextCut& cut) {
    Parts::put_queries(block, args, shared, work, cut,
                       [&](int r, int e, Bf16 q) { shared.queries[r][place_of(e)] = q; });
  }

  template <class Block>
  ORRERY_BLOCK static void add_round(Block& block, const DecodeAttentionArgs<Bf16>& of,
                                     Shared& shared, const Work& work, const Round& round,
                                     typename Block::template PerThread<Sums>& sums) {
    score(block, of, shared, work, round);
    Parts::weigh(block, shared, round, sums);
    add_values(block, shared, work, round, sums);
  }

  ORRERY_BLOCK static float score_of(const Shared& shared, int r, int token) {
    float sum = 0;
    ORRERY_UNROLL
    for (int warp = 0; warp < kWarps; ++warp) sum += shared.scores[warp][r][token];
    return sum;
  }

  template <class Block>
  ORRERY_BLOCK static void keep_sums(Block& block, Shared& shared,
                                     typename Block::template PerThread<Sums>& sums) {
    block.each([&](int thread) {
      const Sums& own = sums[thread];
      const int warp = thread / kWarp, g = thread % kWarp / 4, q = thread % 4;
      ORRERY_UNROLL
      for (int set = 0; set < n_sets; ++set) {
        ORRERY_UNROLL
        for (int j = 0; j < 4; ++j) {
          ORRERY_UNROLL
          for (int i = 0; i < 4; ++i) {
            const int dim = set * 64 + g * kAtOnce + j + i / 2 * 4;
            shared.values[warp][2 * q + i % 2][dim] = own.of[set][j][i];
          }
        }
      }
      const int r = thread / kLanes, lane = thread % kLanes;
      shared.lanes[r][lane] = own.weights;
      if (lane == 0) shared.best[r] = own.best;
    });
  }

  ORRERY_BLOCK static float sum_of(const Shared& shared, const Work&, int r, int e) {
    float sum = 0;
    ORRERY_UNROLL
    for (int warp = 0; warp < kWarps; ++warp) sum += shared.values[warp][r][e];
    return sum;
  }

 private:
  /// A thread's four dims of a product lie beside each other.
  ORRERY_BLOCK static int place_of(int e) {
    return e / kInner * kInner + e % 4 * 4 + e % kInner / 4;
  }

  template <class Block>
  ORRERY_BLOCK static void score(Block& block, const DecodeAttentionArgs<Bf16>& of, Shared& shared,
                                 const Work& work, const Round& round) {
    typename Block::template PerThread<Scores> scores;
    typename Block::template PerThread<Factors<kAtOnce>> factors;
    block.each_apart([&](int thread) { scores[thread] = Scores{}; });
    const int d = static_cast<int>(of.head_dim);
    for (int first = 0; first < d; first += kWarps * kInner) {
      block.each_apart([&](int thread) {
        const int dim = first + thread / kWarp * kInner;
        factors[thread] = keys_and_queries(shared, work, round, dim, d, thread);
      });
      ORRERY_UNROLL
      for (int j = 0; j < kAtOnce; ++j) {
        block.mma([&](int thread) {
          return Fragments{factors[thread].a[j], factors[thread].b, scores[thread].of[j]};
        });
      }
    }
    block.each([&](int thread) {
      const int warp = thread / kWarp, g = thread % kWarp / 4, q = thread % 4;
      ORRERY_UNROLL
      for (int i = 0; i < 4; ++i) {
        float* const to = shared.scores[warp][2 * q + i % 2] + (g + i / 2 * 8) * kAtOnce;
        ORRERY_UNROLL
        for (int j = 0; j < kAtOnce; ++j) {
          to[j] = scores[thread].of[j][i] * static_cast<float>(of.scale);
        }
      }
    });
  }

  /// Of dims `dim` to dim + 15 of `d`; zeros beyond, where a page may hold no number.
  ORRERY_BLOCK static Factors<kAtOnce> keys_and_queries(const Shared& shared, const Work& work,
                                                        const Round& round, int dim, int d,
                                                        int thread) {
    const int g = thread % kWarp / 4, q = thread % 4;
    Words octets[2][4];
    ORRERY_UNROLL
    for (int row = 0; row < 2; ++row) {
      const int page = g / 2 + row * 4;
      const Bf16* const keys = page < round.n_pages
                                   ? work.cached + round.pages[page] * work.page_numbers +
                                         (dim + q) * kPageTokens + g % 2 * kAtOnce
                                   : nullptr;
      ORRERY_UNROLL
      for (int i = 0; i < 4; ++i) {
        const bool is_there = page < round.n_pages && dim + q + i * 4 < d;
        octets[row][i] = is_there ? words_at(keys + i * 4 * kPageTokens) : Words{};
      }
    }
    Factors<kAtOnce> factors = {};
    ORRERY_UNROLL
    for (int j = 0; j < kAtOnce; ++j) {
      ORRERY_UNROLL
      for (int i = 0; i < 4; ++i) {
        factors.a[j][i] = pair_of(octets[i % 2][i / 2 * 2], octets[i % 2][i / 2 * 2 + 1], j);
      }
    }
    if (dim < d) {
      memcpy(factors.b, &shared.queries[g][dim + q * 4], sizeof factors.b);
    }
    return factors;
  }

  /// Ends without a barrier: whoever writes what this reads has come to another one before.
  template <class Block>
  ORRERY_BLOCK static void add_values(Block& block, Shared& shared, const Work& work,
                                      const Round& round,
                                      typename Block::template PerThread<Sums>& sums) {
    typename Block::template PerThread<Factors<4 * n_sets>> factors;
    block.each_apart([&](int thread) {
      const float even = shared.factor[thread % 4 * 2], odd = shared.factor[thread % 4 * 2 + 1];
      ORRERY_UNROLL
      for (int i = 0; i < n_sets * 16; ++i) {
        sums[thread].of[i / 16][i / 4 % 4][i % 4] *= i % 2 == 0 ? even : odd;
      }
    });
    ORRERY_UNROLL
    for (int i = 0; i < kPagesOfWarp; ++i) {
      block.each_apart([&](int thread) {
        const int page = thread / kWarp * kPagesOfWarp + i;
        factors[thread] = values_and_weights(shared, work, round, page, thread);
      });
      ORRERY_UNROLL
      for (int j = 0; j < 4 * n_sets; ++j) {
        block.mma([&](int thread) {
          return Fragments{factors[thread].a[j], factors[thread].b, sums[thread].of[j / 4][j % 4]};
        });
        block.mma([&](int thread) {
          return Fragments{factors[thread].a[j], factors[thread].rest,
                           sums[thread].of[j / 4][j % 4]};
        });
      }
    }
  }

  /// Zeros where no token is seen: what its page holds may be no number.
  ORRERY_BLOCK static Factors<4 * n_sets> values_and_weights(const Shared& shared, const Work& work,
                                                             const Round& round, int page,
                                                             int thread) {
    const int g = thread % kWarp / 4, q = thread % 4, first = page * int{kPageTokens};
    const Bf16* const values = page < round.n_pages
                                   ? work.cached + round.pages[page] * work.page_numbers +
                                         (kPageTokens + q) * work.width + g * kAtOnce
                                   : nullptr;
    Words octets[n_sets][4];
    float weights[4];
    ORRERY_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int token = first + q + i * 4;
      const bool is_seen = token >= round.from && token < round.to;
      weights[i] = shared.weights[g][token];
      ORRERY_UNROLL
      for (int set = 0; set < n_sets; ++set) {
        const int dim = set * 64;
        const bool is_there = is_seen && dim + g * kAtOnce < work.width;
        octets[set][i] = is_there ? words_at(values + i * 4 * work.width + dim) : Words{};
      }
    }
    Factors<4 * n_sets> factors;
    ORRERY_UNROLL
    for (int j = 0; j < 4 * n_sets; ++j) {
      const Words* const own = octets[j / 4];
      ORRERY_UNROLL
      for (int i = 0; i < 4; ++i) {
        factors.a[j][i] = pair_of(own[i / 2 * 2], own[i / 2 * 2 + 1], j % 4 + i % 2 * 4);
      }
    }
    ORRERY_UNROLL
    for (int i = 0; i < 2; ++i) {
      const float low = weights[2 * i], high = weights[2 * i + 1];
      const uint32_t pair = rounded_pair(low, high);
      factors.b[i] = pair;
      factors.rest[i] = rounded_pair(low - number_of(pair, 0), high - number_of(pair, 1));
    }
    return factors;
  }
};

template <class Runner>
void tensor_attention(const DecodeAttentionArgs<Bf16>& of, const NewTokens<Bf16>& tokens,
                      const AttentionParts<Bf16>& parts, const Runner& runner) {
  if (of.head_dim <= 64) {
    paged_attention_of<TensorAttentionProgram<1>>(of, tokens, parts, runner);
  } else if (of.head_dim <= 128) {
    paged_attention_of<TensorAttentionProgram<2>>(of, tokens, parts, runner);
  } else {
    paged_attention_of<TensorAttentionProgram<4>>(of, tokens, parts, runner);
  }
}

}  // namespace orrery::kernels::blocks
