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

#include "blocks/block.h"
#include "blocks/new_token.h"
#include "orrery/kernels/bf16.h"
#include "orrery/kernels/decode_attention.h"

namespace orrery::kernels::blocks {

/// Not -inf: the difference of two is a number.
constexpr float lowest_score() { return -3e38F; }

template <class T>
struct PagedAttentionArgs {
  using Real = typename Arithmetic<T>::Type;
  DecodeAttentionArgs<T> of = {};  // scratch is not used
  NewTokens<T> tokens = {};        // without x: queries are in `of`, keys and values on their pages
  Real* partials = nullptr;        // [N, n_heads, most_parts, partial_size()]; not used with one
  int32_t* n_done = nullptr;       // [N, n_heads] zeros, at the end too; likewise
  int64_t most_parts = 1;          // of a context
  int64_t most_blocks = 1;         // for the parts of a context
};

/// What a row sees, in rounds of some pages, and how they are cut: by its own context alone.
struct ContextCut {
  int lowest, end;  // tokens
  int first_page, n_pages, n_rounds;
  int rounds_of_part, n_parts;
};
constexpr ContextCut cut_of(int32_t n_context, int64_t window) {
  constexpr int64_t kPagesOfRound = kAttentionRound / kPageTokens;
  const int64_t lowest = window > 0 ? larger_of(0, n_context - window) : 0;
  const int64_t first_page = lowest / kPageTokens, n_pages = ceil_div(n_context, kPageTokens);
  const int64_t n_rounds = ceil_div(n_pages - first_page, kPagesOfRound);
  const int64_t rounds_of_part = rounds_of_attention_part(n_rounds);
  return {static_cast<int>(lowest),
          n_context,
          static_cast<int>(first_page),
          static_cast<int>(n_pages),
          static_cast<int>(n_rounds),
          static_cast<int>(rounds_of_part),
          static_cast<int>(ceil_div(n_rounds, rounds_of_part))};
}

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
  static constexpr int kThreads = int{kAttentionRound};
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
      NewHeadsScratch<Real, kHeads> heads;
    };
    Real lanes[kHeads][kLanes];
    Real factor[kHeads];
    int64_t pages[kPages];  // where they begin
  };
  static_assert(sizeof(Shared) <= 48 * 1024 && kMostAttentionParts <= kThreads);
  struct Sums {
    Real of[kHeads][kAtOnce];  // of values: the thread's dims
    Real best, weights;        // of the thread's head; the weights are those of its tokens
  };
  /// Of a sequence's pages, and tokens of them that are seen.
  struct Round {
    const int32_t* pages;
    int n_pages, from, to;
  };
  /// Of a block: heads of a sequence, and which of its blocks it is.
  struct Work {
    int64_t sequence, head;
    int number, heads;
    const T* cached;  // of page 0: keys of the key/value head, then values
    int64_t page_numbers, width;
    int octets, token_parts;  // threads beside each other have dims beside each other
  };

  static int64_t head_chunks(const Args& args) {
    return ceil_div(args.of.n_heads / args.of.n_kv_heads, kHeads);
  }
  /// Of a sequence, if each context were one part.
  static int64_t blocks_of_sequence(const Args& args) {
    return args.of.n_kv_heads * head_chunks(args);
  }
  static int64_t n_blocks(const Args& args) {
    return args.of.n_sequences * blocks_of_sequence(args) * args.most_blocks;
  }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const Work work = work_of(args, block.index());
    const ContextCut cut = cut_of(args.of.n_context[work.sequence], args.of.window);
    if (work.number >= cut.n_parts) return;
    load_queries(block, args, shared, work, cut);
    typename Block::template PerThread<Sums> sums;
    const int most_blocks = static_cast<int>(args.most_blocks);
    for (int part = work.number; part < cut.n_parts; part += most_blocks) {
      sum_part(block, args.of, shared, work, cut, part, sums);
      write(block, args, shared, work, cut, part);
    }
    if (cut.n_parts == 1) return;
    int32_t* const n_done = args.n_done + work.sequence * args.of.n_heads + work.head;
    if (block.is_last_of(n_done, static_cast<int>(smaller_of(most_blocks, cut.n_parts)))) {
      join(block, args, shared, work, cut.n_parts);
    }
  }

 private:
  ORRERY_BLOCK static Work work_of(const Args& args, int64_t index) {
    const DecodeAttentionArgs<T>& of = args.of;
    const int64_t group = of.n_heads / of.n_kv_heads, chunks = ceil_div(group, kHeads);
    Work work;
    work.number = static_cast<int>(index % args.most_blocks);
    const int64_t chunk = index / args.most_blocks % chunks;
    const int64_t kv = index / (args.most_blocks * chunks) % of.n_kv_heads;
    work.sequence = index / (args.most_blocks * chunks * of.n_kv_heads);
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
  ORRERY_BLOCK static void load_queries(Block& block, const Args& args, Shared& shared,
                                        const Work& work, const ContextCut& cut) {
    const DecodeAttentionArgs<T>& of = args.of;
    const bool are_there = args.tokens.heads.x == nullptr;
    const auto put = [&](int r, int64_t e, T q) {
      shared.queries[r][e] = Arithmetic<T>::from(q) * static_cast<Real>(of.scale);
    };
    block.each([&](int thread) {
      const T* const q = of.q + work.sequence * of.q_stride + work.head * of.head_dim;
      for (int r = 0; r < kHeads; ++r) {
        for (int64_t e = thread; e < kMaxHeadDim; e += kThreads) {
          shared.queries[r][e] = 0;
          const bool is_one = r < work.heads && e < of.head_dim;
          if (are_there && is_one) put(r, e, q[r * of.head_dim + e]);
        }
      }
    });
    if (!are_there) {
      make_heads(block, args.tokens, new_heads(args, work, cut), shared.heads, put);
    }
  }

  /// The key goes to its page by the block that reads it there.
  ORRERY_BLOCK static NewHeads<T> new_heads(const Args& args, const Work& work,
                                            const ContextCut& cut) {
    const DecodeAttentionArgs<T>& of = args.of;
    const int64_t kv = work.head / (of.n_heads / of.n_kv_heads), token = cut.end - 1;
    const int32_t page = table_of(of, work)[token / kPageTokens];
    return {work.sequence,
            work.head,
            kv,
            work.heads,
            work.number == (cut.n_parts - 1) % static_cast<int>(args.most_blocks),
            args.tokens.pages + page * work.page_numbers + kv * 2 * kPageTokens * work.width,
            token % kPageTokens};
  }

  ORRERY_BLOCK static const int32_t* table_of(const DecodeAttentionArgs<T>& of, const Work& work) {
    const int64_t row = of.table_rows == nullptr ? work.sequence : of.table_rows[work.sequence];
    return of.page_table + row * of.table_stride;
  }

  /// The sums of a part, those of each thread in shared memory at the end.
  template <class Block>
  ORRERY_BLOCK static void sum_part(Block& block, const DecodeAttentionArgs<T>& of, Shared& shared,
                                    const Work& work, const ContextCut& cut, int part,
                                    typename Block::template PerThread<Sums>& sums) {
    const int32_t* const table = table_of(of, work);
    block.each([&](int thread) {
      sums[thread] = Sums{};
      sums[thread].best = lowest_score();
    });
    const int first = part * cut.rounds_of_part;
    const int last = static_cast<int>(smaller_of(first + cut.rounds_of_part, cut.n_rounds));
    for (int i = first; i < last; ++i) {
      const int page = cut.first_page + i * kPages, begin = page * int{kPageTokens};
      const Round round = {table + page, static_cast<int>(smaller_of(kPages, cut.n_pages - page)),
                           static_cast<int>(larger_of(begin, cut.lowest)) - begin,
                           static_cast<int>(smaller_of(begin + kThreads, cut.end)) - begin};
      score(block, shared, work, round, of.head_dim);
      weigh(block, shared, round, sums);
      add_values(block, shared, work, round, sums);
    }
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

  /// Joins what threads have of the same dims: the answer, if there is one part.
  template <class Block>
  ORRERY_BLOCK static void write(Block& block, const Args& args, Shared& shared, const Work& work,
                                 const ContextCut& cut, int part) {
    const int64_t d = args.of.head_dim;
    block.each([&](int thread) {
      for (int r = 0; r < work.heads; ++r) {
        Real weights = 0;
        for (int lane = 0; lane < kLanes; ++lane) weights += shared.lanes[r][lane];
        T* const out = out_of(args, work, r);
        Real* const partial =
            cut.n_parts == 1 ? nullptr : partials_of(args, work, r) + part * partial_size(d);
        for (int e = thread; e < d; e += kThreads) {
          Real sum = 0;
          for (int i = 0; i < work.token_parts; ++i) {
            sum += shared.values[r][i * work.octets + e / kAtOnce][e % kAtOnce];
          }
          if (cut.n_parts == 1) {
            out[e] = Arithmetic<T>::to(sum / weights);
          } else {
            partial[e] = sum;
          }
        }
        if (cut.n_parts == 1 || thread != 0) continue;
        partial[d] = shared.factor[r];
        partial[d + 1] = weights;
      }
    });
  }

  /// One answer from the parts of each head.
  template <class Block>
  ORRERY_BLOCK static void join(Block& block, const Args& args, Shared& shared, const Work& work,
                                int n_parts) {
    const int64_t d = args.of.head_dim, size = partial_size(d);
    block.each([&](int thread) {  // the largest scores; queries are not read any more
      for (int i = thread; i < work.heads * n_parts; i += kThreads) {
        const int r = i / n_parts, part = i % n_parts;
        shared.queries[r][part] = partials_of(args, work, r)[part * size + d];
      }
    });
    block.each([&](int thread) {
      for (int i = thread; i < work.heads * n_parts; i += kThreads) {
        const int r = i / n_parts, part = i % n_parts;
        Real best = lowest_score();
        for (int other = 0; other < n_parts; ++other) {
          best = Max<Real>()(best, shared.queries[r][other]);
        }
        shared.weights[r][part] = std::exp(shared.queries[r][part] - best);
      }
    });
    block.each([&](int thread) {
      for (int r = 0; r < work.heads; ++r) {
        const Real* const partials = partials_of(args, work, r);
        Real total = 0;
        for (int part = 0; part < n_parts; ++part) {
          total += partials[part * size + d + 1] * shared.weights[r][part];
        }
        for (int64_t e = thread; e < d; e += kThreads) {
          Real sum = 0;
          for (int part = 0; part < n_parts; ++part) {
            sum += partials[part * size + e] * shared.weights[r][part];
          }
          out_of(args, work, r)[e] = Arithmetic<T>::to(sum / total);
        }
      }
    });
  }

  ORRERY_BLOCK static T* out_of(const Args& args, const Work& work, int r) {
    return args.of.out + work.sequence * args.of.out_stride + (work.head + r) * args.of.head_dim;
  }
  /// [most_parts, partial_size()]
  ORRERY_BLOCK static Real* partials_of(const Args& args, const Work& work, int r) {
    const int64_t row = work.sequence * args.of.n_heads + work.head + r;
    return args.partials + row * args.most_parts * partial_size(args.of.head_dim);
  }
};

/// The rows from `first` on, as many as there is scratch for.
template <class T>
PagedAttentionArgs<T> some_rows(const DecodeAttentionArgs<T>& of, const NewTokens<T>& tokens,
                                const AttentionParts<T>& parts, int64_t first) {
  PagedAttentionArgs<T> args;
  args.of = of;
  args.tokens = tokens;
  if (tokens.heads.x == nullptr) {
    args.of.q += first * of.q_stride;
  } else {
    args.tokens.heads.x += first * tokens.heads.x_stride;
    if (tokens.heads.cosines != nullptr) args.tokens.heads.positions += first;
  }
  args.of.out += first * of.out_stride;
  args.of.n_context += first;
  if (of.table_rows == nullptr) {
    args.of.page_table += first * of.table_stride;
  } else {
    args.of.table_rows += first;
  }
  args.of.n_sequences = smaller_of(of.n_sequences - first, parts.n_rows);
  args.partials = parts.partials;
  args.n_done = parts.n_done;
  args.most_parts = most_attention_parts(of.table_stride * kPageTokens);
  return args;
}

/// Blocks that are to be there, of contexts that are long enough: an H200 has 132 multiprocessors
/// with room for three each.
inline constexpr int64_t kBlocksWanted = 1024;

template <class Program, class T, class Runner>
void paged_attention_of(const DecodeAttentionArgs<T>& of, const NewTokens<T>& tokens,
                        const AttentionParts<T>& parts, const Runner& runner) {
  for (int64_t first = 0; first < of.n_sequences; first += parts.n_rows) {
    PagedAttentionArgs<T> args = some_rows(of, tokens, parts, first);
    const int64_t n_fewest = larger_of(1, args.of.n_sequences * Program::blocks_of_sequence(args));
    args.most_blocks = smaller_of(args.most_parts, ceil_div(kBlocksWanted, n_fewest));
    runner.template run<Program>(args);
  }
}

template <class T, class Runner>
void paged_attention(const DecodeAttentionArgs<T>& of, const NewTokens<T>& tokens,
                     const AttentionParts<T>& parts, const Runner& runner) {
  if (of.n_heads / of.n_kv_heads <= kFewHeads) {
    paged_attention_of<PagedAttentionProgram<T, kFewHeads>>(of, tokens, parts, runner);
  } else {
    paged_attention_of<PagedAttentionProgram<T, kMostHeads<T>>>(of, tokens, parts, runner);
  }
}

}  // namespace orrery::kernels::blocks
