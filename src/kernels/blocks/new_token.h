// What a row of a decoding step becomes before it is attended with, in the block that attends:
// query heads and a key head get their bias, norm and rotation, and key and value go to their page.
// The numbers are those of rotate_heads.h, rounded where the kernels one after another would store
// them.
#pragma once

#include <cmath>

#include "blocks/rotate_heads.h"
#include "orrery/kernels/decode_attention.h"

namespace orrery::kernels::blocks {

inline constexpr int64_t kMaxHeadDim = 256;

/// Heads of a row that a block makes: queries beside each other, and the key behind them.
template <class T>
struct NewHeads {
  int64_t row, query, kv;  // the first query head; the key/value head
  int n_queries;
  bool has_key;
  T* page;  // of the key/value head: where the token's key and value go, with `slot`
  int64_t slot;

  ORRERY_BLOCK int count() const { return n_queries + (has_key ? 1 : 0); }
};

template <class Real, int most_queries>
struct NewHeadsScratch {
  using Number = Real;
  static constexpr int kLanes = RotateHeadsProgram<float>::kThreads;  // sums are made as there
  Real x[most_queries + 1][kMaxHeadDim];
  Real squares[most_queries + 1][kLanes];
};

/// Into squares[i][0], in the tree of reduce().
template <class Block, class Scratch>
ORRERY_BLOCK void sum_squares(Block& block, Scratch& scratch, int n, int d) {
  constexpr int kThreads = Block::kThreads, kLanes = Scratch::kLanes;
  block.each([&](int thread) {
    for (int i = thread; i < n * kLanes; i += kThreads) {
      const auto& x = scratch.x[i / kLanes];
      typename Scratch::Number sum = 0;
      for (int e = i % kLanes; e < d; e += kLanes) sum += x[e] * x[e];
      scratch.squares[i / kLanes][i % kLanes] = sum;
    }
  });
  for (int half = kLanes / 2; half > 0; half /= 2) {
    block.each([&](int thread) {
      for (int i = thread; i < n * half; i += kThreads) {
        auto& squares = scratch.squares[i / half];
        squares[i % half] += squares[i % half + half];
      }
    });
  }
}

/// Calls put(query, dim, T) for each number of the query heads; blocks that have the same key write
/// the same numbers.
template <class Block, class T, class Scratch, class Put>
ORRERY_BLOCK void make_heads(Block& block, const NewTokens<T>& of, const NewHeads<T>& own,
                             Scratch& scratch, const Put& put) {
  using Real = typename Arithmetic<T>::Type;
  constexpr int kThreads = Block::kThreads;
  const HeadsArgs<T>& args = of.heads;
  const int d = static_cast<int>(args.head_dim), half = d / 2, n = own.count();
  const T* const x = args.x + own.row * args.x_stride;
  const auto biased = [&](int64_t column) {
    if (of.bias == nullptr) return x[column];
    return Arithmetic<T>::to(Arithmetic<T>::from(x[column]) + Arithmetic<T>::from(of.bias[column]));
  };
  const auto head_of = [&](int i) {
    return Head<T>(args, own.row, i < own.n_queries ? own.query + i : args.n_heads + own.kv);
  };
  block.each([&](int thread) {
    for (int i = thread; i < n * d; i += kThreads) {
      const int64_t column = head_of(i / d).head * d + i % d;
      scratch.x[i / d][i % d] = Arithmetic<T>::from(biased(column));
    }
  });
  const bool is_normed = args.query_weight != nullptr;
  if (is_normed) sum_squares(block, scratch, n, d);
  const auto give = [&](int i, int e, T value) {
    if (i < own.n_queries) {
      put(i, e, value);
    } else {
      own.page[e * kPageTokens + own.slot] = value;
    }
  };
  const auto turned = [&](int i, int pair) {
    const Head<T> head = head_of(i);
    Real a = scratch.x[i][pair], b = scratch.x[i][half + pair];
    if (is_normed) {
      const Real rstd = Real(1) / std::sqrt(scratch.squares[i][0] / static_cast<Real>(d) +
                                            static_cast<Real>(args.eps));
      a *= rstd * head.weight(pair);
      b *= rstd * head.weight(half + pair);
    }
    const Turn<Real> turn = head.turn(pair);
    give(i, pair, Arithmetic<T>::to(a * turn.cosine - b * turn.sine));
    give(i, half + pair, Arithmetic<T>::to(b * turn.cosine + a * turn.sine));
  };
  block.each([&](int thread) {
    if (is_normed || args.cosines != nullptr) {
      for (int i = thread; i < n * half; i += kThreads) turned(i / half, i % half);
    } else {
      for (int i = thread; i < n * d; i += kThreads) {
        give(i / d, i % d, Arithmetic<T>::to(scratch.x[i / d][i % d]));
      }
    }
    if (!own.has_key) return;
    T* const value = own.page + (kPageTokens + own.slot) * padded_head_dim(d);
    for (int e = thread; e < d; e += kThreads) {
      value[e] = biased((args.n_heads + args.n_kv_heads + own.kv) * d + e);
    }
  });
}

}  // namespace orrery::kernels::blocks
