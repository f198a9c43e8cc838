// One block a row. An expert is chosen as often as a token has experts, by the same tree every
// time.
#pragma once

#include <cmath>

#include "blocks/block.h"
#include "orrery/kernels/route_rows.h"

namespace orrery::kernels::blocks {

template <class T>
struct Choice {
  T probability;
  int64_t expert;  // -1: none
};

/// The larger one, of equal ones (and of what is no number) the lower expert.
template <class T>
struct Better {
  ORRERY_BLOCK Choice<T> operator()(const Choice<T>& a, const Choice<T>& b) const {
    if (a.expert < 0 || b.expert < 0) return a.expert < 0 ? b : a;
    if (a.probability > b.probability) return a;
    if (b.probability > a.probability) return b;
    return a.expert < b.expert ? a : b;
  }
};

template <class T>
struct RouteRowsProgram {
  using Args = RouteRowsArgs<T>;
  static constexpr int kThreads = 128;
  struct Shared {
    T numbers[kThreads];
    Choice<T> choices[kThreads];
  };

  static int64_t n_blocks(const Args& args) { return args.n_rows; }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    softmax(block, args, shared);
    const T* const p = args.logits + block.index() * args.n_experts;
    int64_t* const index = args.index + block.index() * args.per_token;
    T* const weight = args.weight + block.index() * args.per_token;
    typename Block::template PerThread<Choice<T>> own;
    T sum = 0;
    for (int64_t k = 0; k < args.per_token; ++k) {
      block.each([&](int thread) {
        Choice<T> best{T(0), -1};
        for (int64_t e = thread; e < args.n_experts; e += kThreads) {
          bool is_taken = false;
          for (int64_t j = 0; j < k; ++j) is_taken = is_taken || index[j] == e;
          if (!is_taken) best = Better<T>()(best, {p[e], e});
        }
        own[thread] = best;
      });
      const Choice<T> best = reduce(block, own, shared.choices, Better<T>());
      sum += best.probability;
      block.each([&](int thread) {
        if (thread != 0) return;
        index[k] = best.expert;
        weight[k] = best.probability;
      });
    }
    block.each([&](int thread) {
      if (!args.normalise) return;
      for (int64_t k = thread; k < args.per_token; k += kThreads) weight[k] /= sum;
    });
  }

 private:
  template <class Block>
  ORRERY_BLOCK static void softmax(Block& block, const Args& args, Shared& shared) {
    T* const row = args.logits + block.index() * args.n_experts;
    typename Block::template PerThread<T> own;
    block.each([&](int thread) {
      T best = row[0];  // a thread without an expert of its own changes nothing
      for (int64_t e = thread; e < args.n_experts; e += kThreads) best = Max<T>()(best, row[e]);
      own[thread] = best;
    });
    const T largest = reduce(block, own, shared.numbers, Max<T>());
    block.each([&](int thread) {
      T sum = 0;
      for (int64_t e = thread; e < args.n_experts; e += kThreads) {
        sum += row[e] = std::exp(row[e] - largest);
      }
      own[thread] = sum;
    });
    const T sum = reduce(block, own, shared.numbers, Sum<T>());
    block.each([&](int thread) {
      for (int64_t e = thread; e < args.n_experts; e += kThreads) row[e] /= sum;
    });
  }
};

/// dp of a chosen expert += (dw - sum(dw w)) / sum(p of the chosen) with normalised weights, dw
/// without; then dlogit = p (dp - sum(p dp)).
template <class T>
struct RouteRowsBackwardProgram {
  using Args = RouteRowsBackwardArgs<T>;
  static constexpr int kThreads = 128;
  struct Shared {
    T numbers[kThreads];
  };

  static int64_t n_blocks(const Args& args) { return args.n_rows; }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const T* const p = args.probabilities + block.index() * args.n_experts;
    const int64_t* const index = args.index + block.index() * args.per_token;
    const T* const weight = args.weight + block.index() * args.per_token;
    const T* const dweight = args.dweight + block.index() * args.per_token;
    T* const dp = args.dlogits + block.index() * args.n_experts;
    block.each([&](int thread) {
      if (thread != 0) return;
      T sum = 0, product = 0;
      for (int64_t k = 0; k < args.per_token; ++k) {
        sum += p[index[k]];
        product += dweight[k] * weight[k];
      }
      for (int64_t k = 0; k < args.per_token; ++k) {
        dp[index[k]] += args.normalise ? (dweight[k] - product) / sum : dweight[k];
      }
    });
    typename Block::template PerThread<T> own;
    block.each([&](int thread) {
      T sum = 0;
      for (int64_t e = thread; e < args.n_experts; e += kThreads) sum += p[e] * dp[e];
      own[thread] = sum;
    });
    const T mean = reduce(block, own, shared.numbers, Sum<T>());
    block.each([&](int thread) {
      for (int64_t e = thread; e < args.n_experts; e += kThreads) dp[e] = p[e] * (dp[e] - mean);
    });
  }
};

}  // namespace orrery::kernels::blocks
