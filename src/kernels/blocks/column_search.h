// Sums over threads, and searches by sums, for a block of 256 threads. Every thread has a column of
// shared memory; columns are joined in two steps of sixteen (three barriers, where a binary tree
// has nine), always in the same order. Nothing is added with atomics.
#pragma once

#include <cstdint>

#include "blocks/block.h"

namespace orrery::kernels::blocks {

inline constexpr int kColumns = 256;
/// One more than there are, so that equal columns of two rows lie in different banks.
template <class T>
using Columns = T[kColumns + 1];

template <class T>
struct Min {
  ORRERY_BLOCK T operator()(T a, T b) const { return b < a ? b : a; }
};

inline constexpr int kLanes = 16;

/// The first step: rows[r][l] = rows[r][l] op rows[r][l + kLanes] op ..., for each lane l of each
/// of `n_rows` rows. All threads have written their columns in an each() before; all may read the
/// results after.
template <class Block, class T, class Op>
ORRERY_BLOCK void fold_to_lanes(Block& block, Columns<T>* rows, int n_rows, Op op) {
  static_assert(Block::kThreads == kColumns);
  block.each([&](int thread) {
    for (int job = thread; job < n_rows * kLanes; job += kColumns) {
      T* const row = rows[job / kLanes];
      const int lane = job % kLanes;
      T joined = row[lane];
      ORRERY_UNROLL
      for (int i = lane + kLanes; i < kColumns; i += kLanes) joined = op(joined, row[i]);
      row[lane] = joined;
    }
  });
}

/// Both steps: rows[r][0] = rows[r][0] op ... op rows[r][kColumns - 1].
template <class Block, class T, class Op>
ORRERY_BLOCK void fold(Block& block, Columns<T>* rows, int n_rows, Op op) {
  fold_to_lanes(block, rows, n_rows, op);
  block.each([&](int thread) {
    for (int r = thread; r < n_rows; r += kColumns) {
      T joined = rows[r][0];
      ORRERY_UNROLL
      for (int lane = 1; lane < kLanes; ++lane) joined = op(joined, rows[r][lane]);
      rows[r][0] = joined;
    }
  });
}

/// rows[0][t] = rows[0][0] + ... + rows[0][t]. rows[1] is scratch.
template <class Block, class T>
ORRERY_BLOCK void prefix_sums(Block& block, Columns<T>* rows) {
  static_assert(Block::kThreads == kColumns);
  int from = 0;  // eight steps: the last one writes rows[0]
  for (int distance = 1; distance < kColumns; distance *= 2, from = 1 - from) {
    block.each([&](int thread) {
      const T own = rows[from][thread];
      rows[1 - from][thread] = thread < distance ? own : rows[from][thread - distance] + own;
    });
  }
}

/// Shared memory of the functions below, which use it one after another.
struct Search {
  static constexpr int kDigits = 16;
  struct Span {  // columns
    int first, last;
  };
  struct Choice {
    int digit;
    double above;
  };
  Columns<double> sums[kDigits];
  Columns<Span> spans[1];
  Choice choice;
};

/// The sum of value(i), 0 <= i < n.
template <class Block, class Value>
ORRERY_BLOCK double sum_of(Block& block, Search& shared, int64_t n, const Value& value) {
  block.each([&](int thread) {
    double own = 0;
    for (int64_t i = thread; i < n; i += kColumns) own += value(i);
    shared.sums[0][thread] = own;
  });
  fold(block, shared.sums, 1, Sum<double>());
  return block.uniform(shared.sums[0][0]);
}

/// The first i of n, with value(i) > 0, where `before` and the values up to i are greater than
/// `target`; the last of value(i) > 0 when rounding leaves the sum short; 0 when there is none.
/// Values are not negative. Columns have neighbours, and those of one column are columns in the
/// next round. `before` becomes the sum before i.
template <class Block, class Value>
ORRERY_BLOCK int64_t first_beyond(Block& block, Search& shared, int64_t n, const Value& value,
                                  double target, double& before) {
  using Span = Search::Span;
  typename Block::template PerThread<double> own;
  int64_t low = 0, high = n;
  while (high - low > 1) {
    const int64_t length = ceil_div(high - low, kColumns);
    block.each([&](int thread) {
      const int64_t begin = low + thread * length, end = smaller_of(begin + length, high);
      double sum = 0;
      for (int64_t i = begin; i < end; ++i) sum += value(i);
      own[thread] = sum;
      shared.sums[0][thread] = sum;
    });
    prefix_sums(block, shared.sums);
    block.each([&](int thread) {
      const bool has_some = own[thread] > 0;
      const bool is_beyond = has_some && before + shared.sums[0][thread] > target;
      shared.spans[0][thread] = {is_beyond ? thread : kColumns, has_some ? thread : 0};
    });
    fold(block, shared.spans, 1, [](const Span& a, const Span& b) {
      return Span{a.first < b.first ? a.first : b.first, a.last > b.last ? a.last : b.last};
    });
    const Span span = block.uniform(shared.spans[0][0]);
    const int column = span.first < kColumns ? span.first : span.last;
    if (column > 0) before += block.uniform(shared.sums[0][column - 1]);
    low += column * length;
    high = smaller_of(low + length, high);
  }
  return low;
}

template <class U>
struct Edge {
  U key;
  double above;  // the sum of values whose keys are greater
};

/// The largest key(i), of 0 <= i < n, whose values and those of greater keys sum to `goal` at
/// least; the least of value(i) > 0 when rounding leaves the sum short. Values are not negative,
/// `goal` is positive. Four bits of the key a pass: a thread sums by digit in its own column.
template <class U, class Block, class Key, class Value>
ORRERY_BLOCK Edge<U> edge_of(Block& block, Search& shared, int64_t n, const Key& key,
                             const Value& value, double goal) {
  constexpr int kDigitBits = 4;
  Edge<U> edge{0, 0};
  for (int shift = 8 * static_cast<int>(sizeof(U)) - kDigitBits; shift >= 0; shift -= kDigitBits) {
    block.each([&](int thread) {
      ORRERY_UNROLL
      for (int digit = 0; digit < Search::kDigits; ++digit) shared.sums[digit][thread] = 0;
      for (int64_t i = thread; i < n; i += kColumns) {
        const U digits = (key(i) ^ edge.key) >> shift;  // 0 before the last where they agree
        if (digits < Search::kDigits) shared.sums[digits][thread] += value(i);
      }
    });
    fold(block, shared.sums, Search::kDigits, Sum<double>());
    block.each([&](int thread) {
      if (thread != 0) return;
      Search::Choice choice{0, edge.above};
      double sum = edge.above;
      for (int digit = Search::kDigits - 1; digit >= 0; --digit) {
        const double of_digit = shared.sums[digit][0];
        if (!(of_digit > 0)) continue;
        choice = {digit, sum};
        sum += of_digit;
        if (sum >= goal) break;
      }
      shared.choice = choice;
    });
    const Search::Choice choice = block.uniform(shared.choice);
    edge.key |= static_cast<U>(choice.digit) << shift;
    edge.above = choice.above;
  }
  return edge;
}

}  // namespace orrery::kernels::blocks
