// What the programs of attention over pages share: how a context is cut, which part of which heads
// a block has, and how parts become one answer. A program (decode_attention.h, tensor_attention.h)
// has kHeads, kDims, kLanes, Sums with `best` and `weights`, Shared with `lanes`, `factor`, `best`,
// `weights` and `joining`, and makes the sums of a part:
//
//   load_queries(block, args, shared, work, cut)           by put_queries()
//   add_round(block, args.of, shared, work, round, sums)   its scores, weigh(), its values
//   score_of(shared, head, token)                          for weigh()
//   keep_sums(block, shared, sums)                         behind the last round, for
//   sum_of(shared, work, head, dim)
#pragma once

#include <cmath>

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

/// Of a block: heads of a sequence, and which of its blocks it is.
template <class T>
struct AttentionWork {
  int64_t sequence, head;
  int number, heads;
  const T* cached;  // of page 0: keys of the key/value head, then values
  int64_t page_numbers, width;
};

/// Of a sequence's pages, and tokens of them that are seen.
struct AttentionRound {
  const int32_t* pages;
  int n_pages, from, to;
};

/// For the block that joins the parts.
template <class Real, int n_heads>
struct JoinScratch {
  Real best[n_heads][kMostAttentionParts], factor[n_heads][kMostAttentionParts];
};

template <class T, class Program>
struct AttentionInParts {
  using Args = PagedAttentionArgs<T>;
  using Real = typename Args::Real;
  using Work = AttentionWork<T>;
  using Round = AttentionRound;

  static int64_t head_chunks(const Args& args) {
    return ceil_div(args.of.n_heads / args.of.n_kv_heads, Program::kHeads);
  }
  /// Of a sequence, if each context were one part.
  static int64_t blocks_of_sequence(const Args& args) {
    return args.of.n_kv_heads * head_chunks(args);
  }
  static int64_t n_blocks(const Args& args) {
    return args.of.n_sequences * blocks_of_sequence(args) * args.most_blocks;
  }

  template <class Block, class Shared>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const Work work = work_of(args, block.index());
    const ContextCut cut = cut_of(args.of.n_context[work.sequence], args.of.window);
    if (work.number >= cut.n_parts) return;
    Program::load_queries(block, args, shared, work, cut);
    typename Block::template PerThread<typename Program::Sums> sums;
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

  /// Calls put(head, dim, T) for kHeads heads of kDims numbers, zeros where there is none: of the
  /// queries that are there, or that are made of new tokens.
  template <class Block, class Shared, class Put>
  ORRERY_BLOCK static void put_queries(Block& block, const Args& args, Shared& shared,
                                       const Work& work, const ContextCut& cut, const Put& put) {
    const DecodeAttentionArgs<T>& of = args.of;
    const bool are_there = args.tokens.heads.x == nullptr;
    const int d = static_cast<int>(of.head_dim);
    block.each([&](int thread) {
      const T* const q = of.q + work.sequence * of.q_stride + work.head * d;
      for (int r = 0; r < Program::kHeads; ++r) {
        for (int e = thread; e < Program::kDims; e += Block::kThreads) {
          const bool is_one = are_there && r < work.heads && e < d;
          put(r, e, is_one ? q[r * d + e] : T{});
        }
      }
    });
    if (!are_there) make_heads(block, args.tokens, new_heads(args, work, cut), shared.heads, put);
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

  /// From the scores of a round to shared.weights, and shared.factor for the sums of earlier
  /// rounds.
  template <class Block, class Shared>
  ORRERY_BLOCK static void weigh(Block& block, Shared& shared, const Round& round,
                                 typename Block::template PerThread<typename Program::Sums>& sums) {
    constexpr int kLanes = Program::kLanes, kLaneTokens = Program::kHeads;
    block.each([&](int thread) {
      const int r = thread / kLanes, lane = thread % kLanes;
      Real best = lowest_score();
      ORRERY_UNROLL
      for (int k = 0; k < kLaneTokens; ++k) {
        const int token = lane + k * kLanes;
        Real sum = lowest_score();
        if (token >= round.from && token < round.to) sum = Program::score_of(shared, r, token);
        shared.weights[r][token] = sum;
        best = Max<Real>()(best, sum);
      }
      shared.lanes[r][lane] = best;
    });
    block.each([&](int thread) {
      const int r = thread / kLanes, lane = thread % kLanes;
      typename Program::Sums& own = sums[thread];
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

 private:
  ORRERY_BLOCK static Work work_of(const Args& args, int64_t index) {
    const DecodeAttentionArgs<T>& of = args.of;
    const int64_t group = of.n_heads / of.n_kv_heads, chunks = ceil_div(group, Program::kHeads);
    Work work;
    work.number = static_cast<int>(index % args.most_blocks);
    const int64_t chunk = index / args.most_blocks % chunks;
    const int64_t kv = index / (args.most_blocks * chunks) % of.n_kv_heads;
    work.sequence = index / (args.most_blocks * chunks * of.n_kv_heads);
    work.head = kv * group + chunk * Program::kHeads;
    work.heads = static_cast<int>(smaller_of(Program::kHeads, group - chunk * Program::kHeads));
    work.width = padded_head_dim(of.head_dim);
    work.page_numbers = page_size(of.n_kv_heads, of.head_dim);
    work.cached = of.pages + kv * 2 * kPageTokens * work.width;
    return work;
  }

  /// The sums of a part, those of each thread in shared memory at the end.
  template <class Block, class Shared>
  ORRERY_BLOCK static void sum_part(
      Block& block, const DecodeAttentionArgs<T>& of, Shared& shared, const Work& work,
      const ContextCut& cut, int part,
      typename Block::template PerThread<typename Program::Sums>& sums) {
    constexpr int kPages = int{kAttentionRound / kPageTokens};
    const int32_t* const table = table_of(of, work);
    block.each_apart([&](int thread) {
      sums[thread] = typename Program::Sums{};
      sums[thread].best = lowest_score();
    });
    const int first = part * cut.rounds_of_part;
    const int last = static_cast<int>(smaller_of(first + cut.rounds_of_part, cut.n_rounds));
    for (int i = first; i < last; ++i) {
      const int page = cut.first_page + i * kPages, begin = page * int{kPageTokens};
      const Round round = {
          table + page, static_cast<int>(smaller_of(kPages, cut.n_pages - page)),
          static_cast<int>(larger_of(begin, cut.lowest)) - begin,
          static_cast<int>(smaller_of(begin + int{kAttentionRound}, cut.end)) - begin};
      Program::add_round(block, of, shared, work, round, sums);
    }
    Program::keep_sums(block, shared, sums);
  }

  /// The answer, if there is one part.
  template <class Block, class Shared>
  ORRERY_BLOCK static void write(Block& block, const Args& args, Shared& shared, const Work& work,
                                 const ContextCut& cut, int part) {
    const int64_t d = args.of.head_dim;
    block.each([&](int thread) {
      for (int r = 0; r < work.heads; ++r) {
        Real weights = 0;
        for (int lane = 0; lane < Program::kLanes; ++lane) weights += shared.lanes[r][lane];
        T* const out = out_of(args, work, r);
        Real* const partial =
            cut.n_parts == 1 ? nullptr : partials_of(args, work, r) + part * partial_size(d);
        for (int e = thread; e < d; e += Block::kThreads) {
          const Real sum = Program::sum_of(shared, work, r, e);
          if (cut.n_parts == 1) {
            out[e] = Arithmetic<T>::to(sum / weights);
          } else {
            partial[e] = sum;
          }
        }
        if (cut.n_parts == 1 || thread != 0) continue;
        partial[d] = shared.best[r];
        partial[d + 1] = weights;
      }
    });
  }

  /// One answer from the parts of each head.
  template <class Block, class Shared>
  ORRERY_BLOCK static void join(Block& block, const Args& args, Shared& shared, const Work& work,
                                int n_parts) {
    const int64_t d = args.of.head_dim, size = partial_size(d);
    block.each([&](int thread) {
      for (int i = thread; i < work.heads * n_parts; i += Block::kThreads) {
        const int r = i / n_parts, part = i % n_parts;
        shared.joining.best[r][part] = partials_of(args, work, r)[part * size + d];
      }
    });
    block.each([&](int thread) {
      for (int i = thread; i < work.heads * n_parts; i += Block::kThreads) {
        const int r = i / n_parts, part = i % n_parts;
        Real best = lowest_score();
        for (int other = 0; other < n_parts; ++other) {
          best = Max<Real>()(best, shared.joining.best[r][other]);
        }
        shared.joining.factor[r][part] = std::exp(shared.joining.best[r][part] - best);
      }
    });
    block.each([&](int thread) {
      for (int r = 0; r < work.heads; ++r) {
        const Real* const partials = partials_of(args, work, r);
        Real total = 0;
        for (int part = 0; part < n_parts; ++part) {
          total += partials[part * size + d + 1] * shared.joining.factor[r][part];
        }
        for (int64_t e = thread; e < d; e += Block::kThreads) {
          Real sum = 0;
          for (int part = 0; part < n_parts; ++part) {
            sum += partials[part * size + e] * shared.joining.factor[r][part];
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
    const int64_t n_fewest =
        larger_of(1, args.of.n_sequences * Program::Parts::blocks_of_sequence(args));
    args.most_blocks = smaller_of(args.most_parts, ceil_div(kBlocksWanted, n_fewest));
    runner.template run<Program>(args);
  }
}

}  // namespace orrery::kernels::blocks
