// A row of logits is cut into segments of kSampleSegment, by the size of the vocabulary alone; a
// block has one segment, or up to four where there are many rows. Three programs, one after
// another:
//
//   SegmentMaxima  the largest logit of each segment, and bounds for its largest 4 and 16
//   SegmentSums    the sum of weights e^(logit - largest of the row) of each segment and, where
//                  there is a filter, the tokens that it may keep
//   DrawTokens     a block a row: what the filter keeps, found among those, and the draw
//
// Sums are in double and their order depends on the vocabulary and the row alone, so a row's token
// does not depend on other rows, and it is the CPU's: weights are the same bits (exp_as_cpu), only
// the order of sums differs.
#pragma once

#include <cmath>
#include <limits>

#include "blocks/column_search.h"
#include "blocks/exp_as_cpu.h"
#include "orrery/kernels/sample_rows.h"

namespace orrery::kernels::blocks {

/// Of a segment, in scratch.
template <class T>
struct SegmentFacts {
  static constexpr int kLevels = 3;
  static constexpr int count(int level) { return 1 << (2 * level); }

  double policy_sum, sum;  // of weights
  T policy_largest;
  T bounds[kLevels];  // count(level) logits, masked ones too, are not less; [0]: the largest
  int32_t n_candidates, first_candidate;  // the latter among those of the row
};

/// A row of logits and what the rule says for it. "Policy": of all logits, scaled. The others are
/// those that are drawn from: masked ids are the lowest number, and greedy does not scale.
template <class T>
struct SampledRow {
  using Args = SampleRowsArgs<T>;

  const T* logits;
  SegmentFacts<T>* segments;  // [n_segments]
  /// [n] tokens that a filter may keep; those of a segment begin at its place, until DrawTokens
  /// joins them.
  int32_t* candidates;
  int64_t n, n_segments;
  T scale;
  bool greedy, masks_stop_ids, has_masked, has_top_k, has_top_p;

  ORRERY_BLOCK SampledRow(const Args& args, int64_t row) {
    n = args.vocab_size;
    n_segments = segments_of(args);
    logits = args.logits + row * n;
    auto* const facts = static_cast<SegmentFacts<T>*>(args.scratch);
    segments = facts + row * n_segments;
    candidates = reinterpret_cast<int32_t*>(facts + args.n_rows * n_segments) + row * n;
    scale = args.temperature == 1 ? T(1) : static_cast<T>(1 / args.temperature);
    greedy = args.greedy;
    masks_stop_ids = static_cast<int64_t>(args.keys[row].position) < args.min_new_tokens;
    has_masked = masks_stop_ids || args.n_never_ids > 0;
    has_top_k = !greedy && args.top_k < n;
    has_top_p = !greedy && args.top_p < 1;
  }

  static constexpr int64_t segments_of(const Args& args) {
    return ceil_div(args.vocab_size, kSampleSegment);
  }
  ORRERY_BLOCK bool has_filter() const { return has_top_k || has_top_p; }
  ORRERY_BLOCK bool is_changed() const { return greedy || has_masked || has_filter(); }

  /// The product is rounded on its own: fused with a difference it would be another number than the
  /// CPU's.
  ORRERY_BLOCK T scaled(T logit) const { return std::fma(logit, scale, T(0)); }
  ORRERY_BLOCK T drawn(T logit, bool is_masked) const {
    const T seen = is_masked ? Bits<T>::kLowest : logit;
    return greedy ? seen : scaled(seen);
  }
};

/// Marks the masked ids of [begin, end), at most `masked` many. Where nothing is masked it writes
/// nothing.
template <class Block, class T>
ORRERY_BLOCK void mark_masked(Block& block, const SampleRowsArgs<T>& args, const SampledRow<T>& row,
                              int64_t begin, int64_t end, bool* masked) {
  if (!row.has_masked) return;
  block.each([&](int thread) {
    for (int64_t i = begin + thread; i < end; i += Block::kThreads) masked[i - begin] = false;
  });
  const auto mark = [&](const int64_t* ids, int64_t n_ids, int thread) {
    for (int64_t i = thread; i < n_ids; i += Block::kThreads) {
      if (ids[i] >= begin && ids[i] < end) masked[ids[i] - begin] = true;
    }
  };
  block.each([&](int thread) {
    if (row.masks_stop_ids) mark(args.stop_ids, args.n_stop_ids, thread);
    mark(args.never_ids, args.n_never_ids, thread);
  });
}

template <class T>
struct Largest {  // of a row
  T policy, drawn;
};

template <class Block, class T>
ORRERY_BLOCK Largest<T> largest_of(Block& block, Columns<double>* columns,
                                   const SampledRow<T>& row) {
  block.each([&](int thread) {
    T policy = -std::numeric_limits<T>::infinity(), drawn = policy;
    for (int64_t s = thread; s < row.n_segments; s += Block::kThreads) {
      policy = Max<T>()(policy, row.segments[s].policy_largest);
      drawn = Max<T>()(drawn, row.segments[s].bounds[0]);
    }
    columns[0][thread] = static_cast<double>(policy);
    columns[1][thread] = static_cast<double>(drawn);
  });
  fold(block, columns, 2, Max<double>());
  const double policy = block.uniform(columns[0][0]), drawn = block.uniform(columns[1][0]);
  return {static_cast<T>(policy), static_cast<T>(drawn)};
}

/// What the programs over segments share.
template <class T>
struct SegmentsOfABlock {
  using Args = SampleRowsArgs<T>;
  static constexpr int kThreads = kColumns;
  static constexpr int kMost = 4;  // segments
  static constexpr int kPerThread = kSampleSegment / kThreads;
  /// As many blocks as there are, or nearly, before a block gets a second segment: several for each
  /// multiprocessor of a large GPU.
  static constexpr int64_t kManyBlocks = 1024;

  int64_t row, first;  // segment
  int n;               // segments

  static constexpr int64_t per_block(const Args& args) {
    const int64_t all = args.n_rows * SampledRow<T>::segments_of(args);
    return smaller_of(larger_of(all / kManyBlocks, 1), kMost);
  }
  static constexpr int64_t blocks_of_row(const Args& args) {
    return ceil_div(SampledRow<T>::segments_of(args), per_block(args));
  }
  static constexpr int64_t n_blocks(const Args& args) { return args.n_rows * blocks_of_row(args); }

  ORRERY_BLOCK SegmentsOfABlock(const Args& args, int64_t block) {
    row = block / blocks_of_row(args);
    first = block % blocks_of_row(args) * per_block(args);
    n = static_cast<int>(smaller_of(per_block(args), SampledRow<T>::segments_of(args) - first));
  }
  ORRERY_BLOCK int64_t begin() const { return first * kSampleSegment; }
  ORRERY_BLOCK int64_t end(int64_t vocab_size) const {
    return smaller_of((first + n) * kSampleSegment, vocab_size);
  }
  /// Of a thread's number j of the block's segment s. Neighbours have neighbouring tokens.
  ORRERY_BLOCK int64_t token(int s, int j, int thread) const {
    return begin() + s * kSampleSegment + j * kThreads + thread;
  }
  struct Numbers {
    T of[kPerThread];
  };
  /// A thread's numbers of segment s before `end`, loaded side by side.
  ORRERY_BLOCK Numbers load(const T* logits, int64_t end, int s, int thread) const {
    Numbers numbers;
    ORRERY_UNROLL
    for (int j = 0; j < kPerThread; ++j) {
      const int64_t i = token(s, j, thread);
      numbers.of[j] = i < end ? logits[i] : T(0);
    }
    return numbers;
  }
};

template <class T>
struct SegmentMaximaProgram {
  using Args = SampleRowsArgs<T>;
  using Cut = SegmentsOfABlock<T>;
  static constexpr int kThreads = Cut::kThreads;
  struct Shared {
    Columns<T> largest[2 * Cut::kMost];
    bool masked[Cut::kMost * kSampleSegment];
  };

  static int64_t n_blocks(const Args& args) { return Cut::n_blocks(args); }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const Cut cut(args, block.index());
    const SampledRow<T> row(args, cut.row);
    const int64_t begin = cut.begin(), end = cut.end(row.n);
    mark_masked(block, args, row, begin, end, shared.masked);
    block.each([&](int thread) {
      for (int s = 0; s < cut.n; ++s) {
        const typename Cut::Numbers logits = cut.load(row.logits, end, s, thread);
        T policy = -std::numeric_limits<T>::infinity(), drawn = policy;
        ORRERY_UNROLL
        for (int j = 0; j < Cut::kPerThread; ++j) {
          const int64_t i = cut.token(s, j, thread);
          if (i >= end) continue;
          const bool is_masked = row.has_masked && shared.masked[i - begin];
          policy = Max<T>()(policy, row.scaled(logits.of[j]));
          drawn = Max<T>()(drawn, row.drawn(logits.of[j], is_masked));
        }
        shared.largest[2 * s][thread] = policy;
        shared.largest[2 * s + 1][thread] = drawn;
      }
    });
    fold_to_lanes(block, shared.largest, 2 * cut.n, Max<T>());
    block.each([&](int thread) {
      if (thread >= cut.n) return;
      SegmentFacts<T>& facts = row.segments[cut.first + thread];
      facts.policy_largest = least_of_largest(shared.largest[2 * thread], 1);
      for (int level = 0; level < SegmentFacts<T>::kLevels; ++level) {
        facts.bounds[level] =
            least_of_largest(shared.largest[2 * thread + 1], SegmentFacts<T>::count(level));
      }
    });
  }

 private:
  /// Of the largest of each of `n_groups` groups of lanes.
  ORRERY_BLOCK static T least_of_largest(const T* lanes, int n_groups) {
    T least = std::numeric_limits<T>::infinity();
    for (int group = 0; group < n_groups; ++group) {
      T largest = lanes[group];
      for (int l = group + n_groups; l < kLanes; l += n_groups) {
        largest = Max<T>()(largest, lanes[l]);
      }
      least = Min<T>()(least, largest);
    }
    return least;
  }
};

template <class T>
struct SegmentSumsProgram {
  using Args = SampleRowsArgs<T>;
  using Cut = SegmentsOfABlock<T>;
  static constexpr int kThreads = Cut::kThreads;
  static constexpr int kSums = 3;  // of a segment: the policy's weights, those drawn from, tokens
  struct Shared {
    Columns<double> sums[kSums * Cut::kMost];
    Columns<uint64_t> places[2];
    bool masked[Cut::kMost * kSampleSegment];
  };

  static int64_t n_blocks(const Args& args) { return Cut::n_blocks(args); }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const Cut cut(args, block.index());
    const SampledRow<T> row(args, cut.row);
    const int64_t begin = cut.begin(), end = cut.end(row.n);
    mark_masked(block, args, row, begin, end, shared.masked);
    const Largest<T> largest = largest_of(block, shared.sums, row);
    const T lowest = row.has_filter() ? lowest_kept(block, args, shared, row, largest.drawn) : T(0);
    typename Block::template PerThread<uint32_t> kept;  // a bit for each number of the thread
    block.each([&](int thread) {
      kept[thread] = 0;
      for (int s = 0; s < cut.n; ++s) {
        const typename Cut::Numbers logits = cut.load(row.logits, end, s, thread);
        double policy_sum = 0, sum = 0;
        int n_kept = 0;
        ORRERY_UNROLL
        for (int j = 0; j < Cut::kPerThread; ++j) {
          const int64_t i = cut.token(s, j, thread);
          if (i >= end) continue;
          const bool is_masked = row.has_masked && shared.masked[i - begin];
          const T policy_weight = exp_as_cpu(row.scaled(logits.of[j]) - largest.policy);
          policy_sum += static_cast<double>(policy_weight);
          if (row.greedy) continue;
          const T x = row.drawn(logits.of[j], is_masked) - largest.drawn;
          const bool is_same = !is_masked && largest.policy == largest.drawn;
          sum += static_cast<double>(is_same ? policy_weight : exp_as_cpu(x));
          if (!row.has_filter() || is_masked || !(x >= lowest)) continue;
          kept[thread] |= uint32_t{1} << (s * Cut::kPerThread + j);
          ++n_kept;
        }
        shared.sums[kSums * s][thread] = policy_sum;
        shared.sums[kSums * s + 1][thread] = sum;
        shared.sums[kSums * s + 2][thread] = n_kept;
      }
    });
    fold(block, shared.sums, kSums * cut.n, Sum<double>());
    block.each([&](int thread) {
      if (thread >= cut.n) return;
      SegmentFacts<T>& facts = row.segments[cut.first + thread];
      facts.policy_sum = shared.sums[kSums * thread][0];
      facts.sum = shared.sums[kSums * thread + 1][0];
      facts.n_candidates = static_cast<int32_t>(shared.sums[kSums * thread + 2][0]);
    });
    if (!row.has_filter()) return;
    for (int s = 0; s < cut.n; ++s) {
      if (block.uniform(shared.sums[kSums * s + 2][0]) == 0) continue;
      write_candidates(block, shared, row, cut, s, kept);
    }
  }

 private:
  /// A bound x for what the filter keeps: logit - largest >= x, and weights that are not 0. Too low
  /// a bound costs time, nothing else.
  template <class Block>
  ORRERY_BLOCK static T lowest_kept(Block& block, const Args& args, Shared& shared,
                                    const SampledRow<T>& row, T largest) {
    T lowest = ExpOf<T>::kSmallest;
    if (row.has_top_p && !(row.has_top_k && args.top_k_first)) {
      // The largest weight is 1, so the sum is more. Weights below (1 - p) / V are less than 1 - p
      // of it together. By half of that, and roundings do not matter.
      const double weight = (1 - args.top_p) / (2 * static_cast<double>(row.n));
      lowest = Max<T>()(lowest, static_cast<T>(std::log(weight)));
    }
    if (row.has_top_k) {
      // Weights that are equal, or almost, to one that stays may count before it in top-p.
      constexpr T kMargin = T(1e-4);
      const T kth = kth_bound(block, args, shared, row);
      lowest = Max<T>()(lowest, kth - largest - kMargin);
    }
    return lowest;
  }

  /// Of the lowest level at which segments have k logits that bounds speak of, the least bound that
  /// is needed for k: at least as many logits are not less. For a greater k there is no bound.
  template <class Block>
  ORRERY_BLOCK static T kth_bound(Block& block, const Args& args, Shared& shared,
                                  const SampledRow<T>& row) {
    using Facts = SegmentFacts<T>;
    int level = 0;
    while (level < Facts::kLevels && row.n_segments * Facts::count(level) < args.top_k) ++level;
    if (level == Facts::kLevels) return -std::numeric_limits<T>::infinity();
    const int64_t n_needed = ceil_div(args.top_k, Facts::count(level));
    block.each([&](int thread) {
      T own = std::numeric_limits<T>::infinity();
      for (int64_t s = thread; s < row.n_segments; s += kThreads) {
        const T bound = row.segments[s].bounds[level];
        int64_t n_greater = 0;
        for (int64_t other = 0; other < row.n_segments; ++other) {
          n_greater += row.segments[other].bounds[level] > bound ? 1 : 0;
        }
        if (n_greater < n_needed) own = Min<T>()(own, bound);
      }
      shared.sums[0][thread] = static_cast<double>(own);
    });
    fold(block, shared.sums, 1, Min<double>());
    return static_cast<T>(block.uniform(shared.sums[0][0]));
  }

  /// The tokens of a segment, ascending. A thread's four numbers are counted in one integer.
  template <class Block>
  ORRERY_BLOCK static void write_candidates(Block& block, Shared& shared, const SampledRow<T>& row,
                                            const Cut& cut, int s,
                                            typename Block::template PerThread<uint32_t>& kept) {
    constexpr int kBits = 16;
    static_assert(kBits * Cut::kPerThread <= 64 && kThreads < (1 << kBits));
    const auto is_kept = [&](int thread, int j) {
      return (kept[thread] >> (s * Cut::kPerThread + j)) & 1U;
    };
    block.each([&](int thread) {
      uint64_t counts = 0;
      for (int j = 0; j < Cut::kPerThread; ++j) {
        counts |= uint64_t{is_kept(thread, j)} << (kBits * j);
      }
      shared.places[0][thread] = counts;
    });
    prefix_sums(block, shared.places);
    block.each([&](int thread) {
      int32_t* const out = row.candidates + (cut.first + s) * kSampleSegment;
      int64_t before = 0;  // of smaller j
      for (int j = 0; j < Cut::kPerThread; ++j) {
        const auto count_to = [&](int column) {
          return static_cast<int64_t>((shared.places[0][column] >> (kBits * j)) & 0xffff);
        };
        if (is_kept(thread, j)) {
          out[before + count_to(thread) - 1] = static_cast<int32_t>(cut.token(s, j, thread));
        }
        before += count_to(kThreads - 1);
      }
    });
  }
};

template <class T>
struct DrawTokensProgram {
  using Args = SampleRowsArgs<T>;
  using U = typename Bits<T>::Type;
  using Row = SampledRow<T>;
  static constexpr int kThreads = kColumns;
  static constexpr int64_t kHeld = 12288 / sizeof(T);
  struct Shared {
    Search search;
    T held[kHeld];  // logits of candidates, where they are as few
    bool masked[kSampleSegment];
  };
  static_assert(sizeof(Shared) <= 48 * 1024);
  struct Normaliser {  // log sum exp of a row is largest + log_total
    double largest, log_total;
  };
  struct Drawn {
    int64_t token;
    T logit;
    double total;  // of the weights drawn from
  };

  static int64_t n_blocks(const Args& args) { return args.n_rows; }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const int64_t index = block.index();
    const Row row(args, index);
    const Largest<T> largest = largest_of(block, shared.search.sums, row);
    Normaliser policy{0, 0};
    if (row.is_changed()) {
      const double total = sum_of(block, shared.search, row.n_segments,
                                  [&](int64_t s) { return row.segments[s].policy_sum; });
      policy = {static_cast<double>(largest.policy), std::log(total)};
    }
    const double uniform = uniform_of(args.keys[index]);
    const Drawn drawn = row.greedy ? best_of(block, args, shared, row, largest.drawn)
                        : row.has_filter()
                            ? drawn_of_filtered(block, args, shared, row, largest.drawn, uniform)
                            : drawn_of_all(block, args, shared, row, largest.drawn, uniform);
    block.each([&](int thread) {
      if (thread != 0) return;
      args.tokens[index] = drawn.token;
      if (row.greedy) {
        args.log_probs[index] = log_prob(policy, row.scaled(drawn.logit));
        args.sampling_log_probs[index] = 0;
        return;
      }
      const double drawn_from =
          log_prob({static_cast<double>(largest.drawn), std::log(drawn.total)}, drawn.logit);
      args.log_probs[index] = row.is_changed() ? log_prob(policy, drawn.logit) : drawn_from;
      args.sampling_log_probs[index] = drawn_from;
    });
  }

 private:
  ORRERY_BLOCK static double log_prob(const Normaliser& row, T logit) {
    return static_cast<double>(logit) - row.largest - row.log_total;
  }

  /// A segment's logits as they are drawn from.
  struct Segment {
    const Row& row;
    const bool* masked;
    int64_t begin, n;

    template <class Block>
    ORRERY_BLOCK Segment(Block& block, const Args& args, Shared& shared, const Row& of,
                         int64_t segment)
        : row(of), masked(shared.masked), begin(segment * kSampleSegment) {
      n = smaller_of(kSampleSegment, row.n - begin);
      mark_masked(block, args, row, begin, begin + n, shared.masked);
    }
    ORRERY_BLOCK T operator[](int64_t i) const {
      return row.drawn(row.logits[begin + i], row.has_masked && masked[i]);
    }
  };

  /// Of equals the first.
  template <class Block>
  ORRERY_BLOCK static Drawn best_of(Block& block, const Args& args, Shared& shared, const Row& row,
                                    T largest) {
    const auto first_that = [&](int64_t n, const auto& is_it) {
      double before = 0;
      return first_beyond(
          block, shared.search, n, [&](int64_t i) { return is_it(i) ? 1.0 : 0.0; }, 0, before);
    };
    const int64_t s = first_that(
        row.n_segments, [&](int64_t other) { return row.segments[other].bounds[0] == largest; });
    const Segment segment(block, args, shared, row, s);
    const int64_t i = first_that(segment.n, [&](int64_t j) { return segment[j] == largest; });
    return {segment.begin + i, segment[i], 0};
  }

  template <class Block>
  ORRERY_BLOCK static Drawn drawn_of_all(Block& block, const Args& args, Shared& shared,
                                         const Row& row, T largest, double uniform) {
    const auto sum_of_segment = [&](int64_t s) { return row.segments[s].sum; };
    const double total = sum_of(block, shared.search, row.n_segments, sum_of_segment);
    const double target = uniform * total;
    double before = 0;
    const int64_t s =
        first_beyond(block, shared.search, row.n_segments, sum_of_segment, target, before);
    const Segment segment(block, args, shared, row, s);
    const int64_t i = first_beyond(
        block, shared.search, segment.n,
        [&](int64_t j) { return static_cast<double>(exp_as_cpu(segment[j] - largest)); }, target,
        before);
    return {segment.begin + i, segment[i], total};
  }

  /// What SegmentSums left for the filter: all tokens that it keeps and every other that counts in
  /// what it keeps, ascending.
  struct Candidates {
    const Row& row;
    const T* held;
    int64_t n;
    T largest;

    ORRERY_BLOCK T logit(int64_t i) const {
      return n <= kHeld ? held[i] : row.scaled(row.logits[row.candidates[i]]);
    }
    ORRERY_BLOCK T weight(int64_t i) const { return exp_as_cpu(logit(i) - largest); }
  };

  /// Joins the segments' tokens: segment s begins at a place not before first_candidate, so those
  /// that are moved together never meet one that is not read yet.
  template <class Block>
  ORRERY_BLOCK static Candidates join_candidates(Block& block, Shared& shared, const Row& row,
                                                 T largest) {
    constexpr int kAtOnce = 4;  // loads that do not wait for each other
    struct Tokens {
      int32_t of[kAtOnce];
    };
    const int64_t n = count_candidates(block, shared, row);
    typename Block::template PerThread<Tokens> tokens;
    for (int64_t begin = 0; begin < n; begin += kAtOnce * kThreads) {
      block.each([&](int thread) {
        ORRERY_UNROLL
        for (int j = 0; j < kAtOnce; ++j) {
          const int64_t i = begin + j * kThreads + thread;
          if (i < n) tokens[thread].of[j] = candidate(row, i);
        }
      });
      block.each([&](int thread) {
        ORRERY_UNROLL
        for (int j = 0; j < kAtOnce; ++j) {
          const int64_t i = begin + j * kThreads + thread;
          if (i >= n) continue;
          row.candidates[i] = tokens[thread].of[j];
          if (n <= kHeld) shared.held[i] = row.scaled(row.logits[tokens[thread].of[j]]);
        }
      });
    }
    return {row, shared.held, n, largest};
  }

  /// Sets first_candidate of the segments; how many candidates they have together.
  template <class Block>
  ORRERY_BLOCK static int64_t count_candidates(Block& block, Shared& shared, const Row& row) {
    Columns<double>* const counts = shared.search.sums;
    const int64_t length = ceil_div(row.n_segments, kThreads);
    block.each([&](int thread) {
      int64_t sum = 0;
      for (int64_t s = thread * length; s < smaller_of((thread + 1) * length, row.n_segments);
           ++s) {
        row.segments[s].first_candidate = static_cast<int32_t>(sum);
        sum += row.segments[s].n_candidates;
      }
      counts[0][thread] = static_cast<double>(sum);
    });
    prefix_sums(block, counts);
    block.each([&](int thread) {
      if (thread == 0) return;
      const auto before = static_cast<int32_t>(counts[0][thread - 1]);
      for (int64_t s = thread * length; s < smaller_of((thread + 1) * length, row.n_segments);
           ++s) {
        row.segments[s].first_candidate += before;
      }
    });
    return static_cast<int64_t>(block.uniform(counts[0][kThreads - 1]));
  }

  /// Before they are joined.
  ORRERY_BLOCK static int32_t candidate(const Row& row, int64_t i) {
    int64_t low = 0, high = row.n_segments;  // the last that begins at i or before
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      (row.segments[middle].first_candidate <= i ? low : high) = middle;
    }
    return row.candidates[low * kSampleSegment + i - row.segments[low].first_candidate];
  }

  template <class Block>
  ORRERY_BLOCK static Drawn drawn_of_filtered(Block& block, const Args& args, Shared& shared,
                                              const Row& row, T largest, double uniform) {
    Search& search = shared.search;
    const Candidates all = join_candidates(block, shared, row, largest);
    U k_limit = 0;
    if (row.has_top_k && all.n > args.top_k) {
      k_limit = edge_of<U>(
                    block, search, all.n, [&](int64_t i) { return ordered(all.logit(i)); },
                    [](int64_t) { return 1.0; }, static_cast<double>(args.top_k))
                    .key;
    }
    const auto is_in_top_k = [&](int64_t i) { return ordered(all.logit(i)) >= k_limit; };
    PEdge p_edge{0, all.n};
    if (row.has_top_p) {
      const bool is_of_top_k = row.has_top_k && args.top_k_first;
      p_edge = top_p_edge(block, search, row, all.n, args.top_p, is_of_top_k, [&](int64_t i) {
        return is_of_top_k && !is_in_top_k(i) ? T(0) : all.weight(i);
      });
    }
    const auto kept_weight = [&](int64_t i) {
      const T weight = all.weight(i);
      const U key = ordered(weight);
      const bool is_in_top_p = key > p_edge.key || (key == p_edge.key && i <= p_edge.last);
      return is_in_top_p && is_in_top_k(i) ? static_cast<double>(weight) : 0.0;
    };
    const double total = sum_of(block, search, all.n, kept_weight);
    double before = 0;
    const int64_t i = first_beyond(block, search, all.n, kept_weight, uniform * total, before);
    if (all.n == 0) return {0, row.scaled(row.logits[0]), total};  // not numbers
    return {row.candidates[i], all.logit(i), total};
  }

  /// What stays in top-p: greater weights, and of equal ones the candidates up to `last`.
  struct PEdge {
    U key;
    int64_t last;
  };

  /// Most likely first, of equals the lowest token, those stay whose sum of weights before them is
  /// less than p times all.
  template <class Block, class Weight>
  ORRERY_BLOCK static PEdge top_p_edge(Block& block, Search& search, const Row& row, int64_t n,
                                       double top_p, bool is_of_candidates, const Weight& weight) {
    const auto as_double = [&](int64_t i) { return static_cast<double>(weight(i)); };
    const double total = is_of_candidates ? sum_of(block, search, n, as_double)
                                          : sum_of(block, search, row.n_segments,
                                                   [&](int64_t s) { return row.segments[s].sum; });
    const double limit = top_p * total;
    const auto key = [&](int64_t i) { return ordered(weight(i)); };
    const Edge<U> edge = edge_of<U>(block, search, n, key, as_double, limit);
    const auto is_at_edge = [&](int64_t i) { return key(i) == edge.key ? 1.0 : 0.0; };
    const auto n_at_edge = static_cast<int64_t>(sum_of(block, search, n, is_at_edge));
    const int64_t n_stay = number_below(edge.above, weight_of(edge.key), limit, n_at_edge);
    if (n_stay >= n_at_edge) return {edge.key, n};
    double before = 0;
    return {edge.key,
            first_beyond(block, search, n, is_at_edge, static_cast<double>(n_stay - 1), before)};
  }

  /// The weight, not negative, whose ordered bits these are.
  ORRERY_BLOCK static double weight_of(U x) {
    const U bits = x & ~(U{1} << (8 * sizeof(U) - 1));
    T weight;
    memcpy(&weight, &bits, sizeof weight);
    return static_cast<double>(weight);
  }

  /// How many of n equal weights have less than `limit` before them: at least one, the first.
  ORRERY_BLOCK static int64_t number_below(double above, double weight, double limit, int64_t n) {
    if (!(weight > 0)) return n;
    const double quotient = (limit - above) / weight;
    int64_t number = quotient < 1                        ? 1
                     : quotient < static_cast<double>(n) ? static_cast<int64_t>(quotient)
                                                         : n;
    while (number < n && above + static_cast<double>(number) * weight < limit) ++number;
    while (number > 1 && above + static_cast<double>(number - 1) * weight >= limit) --number;
    return number;
  }
};

template <class T, class Runner>
void sample_rows(const SampleRowsArgs<T>& args, const Runner& runner) {
  static_assert(sizeof(SegmentFacts<T>) <= kSampleSegmentBytes);
  runner.template run<SegmentMaximaProgram<T>>(args);
  runner.template run<SegmentSumsProgram<T>>(args);
  runner.template run<DrawTokensProgram<T>>(args);
}

}  // namespace orrery::kernels::blocks
