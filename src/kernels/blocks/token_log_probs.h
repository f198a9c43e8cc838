// One block per row of logits, which is read once: every thread keeps the largest of its numbers
// and the sums of e^y and y e^y relative to it, and rescales them when the largest grows. No
// softmax is written anywhere. Backward writes the gradient over the logits, one pass.
#pragma once

#include <cmath>

#include "blocks/block.h"
#include "orrery/kernels/token_log_probs.h"

namespace orrery::kernels::blocks {

/// Sums over some numbers z: total = sum e^(z - best), weighted = sum (z - best) e^(z - best).
template <class T>
struct SoftmaxSums {
  T best, total, weighted;
};

/// Of the numbers of both. An empty one has best = lowest and sums of 0.
template <class T>
struct JoinSums {
  ORRERY_BLOCK SoftmaxSums<T> operator()(const SoftmaxSums<T>& a, const SoftmaxSums<T>& b) const {
    const bool first = a.best >= b.best;
    const SoftmaxSums<T>& high = first ? a : b;
    const SoftmaxSums<T>& low = first ? b : a;
    if (low.total == T(0)) return high;
    const T gap = low.best - high.best, factor = std::exp(gap);
    return {high.best, high.total + low.total * factor,
            high.weighted + (factor == T(0) ? T(0) : (low.weighted + gap * low.total) * factor)};
  }
};

template <class T>
struct TokenLogProbsProgram {
  using Args = TokenLogProbsArgs<T>;
  static constexpr int kThreads = 256;
  struct Shared {
    SoftmaxSums<T> sums[kThreads];
  };

  static int64_t n_blocks(const Args& args) { return args.n_rows; }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const int64_t row = block.index(), n = args.vocab_size;
    const T* const logits = args.logits + row * n;
    const T scale = static_cast<T>(args.inverse_temperature);
    typename Block::template PerThread<SoftmaxSums<T>> sums;
    block.each([&](int thread) {
      SoftmaxSums<T> own{lowest(), T(0), T(0)};
      for (int64_t i = thread; i < n; i += kThreads) {
        const T z = logits[i] * scale;
        if (z > own.best) {
          own = JoinSums<T>()({z, T(1), T(0)}, own);
        } else {
          const T y = z - own.best, e = std::exp(y);
          own.total += e;
          if (e > T(0)) own.weighted += y * e;
        }
      }
      sums[thread] = own;
    });
    const SoftmaxSums<T> all = reduce(block, sums, shared.sums, JoinSums<T>());
    block.each([&](int thread) {
      if (thread != 0) return;
      const T log_total = std::log(all.total);
      const int64_t target = args.targets[row];
      const T logit = target < 0 ? T(0) : logits[target] * scale;
      args.log_probs[row] = target < 0 ? T(0) : logit - all.best - log_total;
      if (args.target_logits != nullptr) args.target_logits[row] = logit;
      if (args.logsumexp != nullptr) args.logsumexp[row] = all.best + log_total;
      if (args.entropy != nullptr) args.entropy[row] = log_total - all.weighted / all.total;
    });
  }

 private:
  /// Below every number that logits hold; `-inf - -inf` would be none.
  ORRERY_BLOCK static T lowest() { return sizeof(T) == 4 ? T(-3.402823466e38) : T(-1.7e308); }
};

/// dz = (g (onehot - p) - h p (log p + H)) / t, as in the CPU's.
template <class T>
struct TokenLogProbsBackwardProgram {
  using Args = TokenLogProbsBackwardArgs<T>;
  static constexpr int kThreads = 256;
  struct Shared {};

  static int64_t n_blocks(const Args& args) { return args.n_rows; }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared&) {
    const int64_t row = block.index(), n = args.vocab_size;
    T* const logits = args.logits + row * n;
    const T scale = static_cast<T>(args.inverse_temperature);
    const T logsumexp = args.logsumexp[row];
    const T g = args.dlog_probs != nullptr ? args.dlog_probs[row] : T(0);
    const T h = args.dentropy != nullptr ? args.dentropy[row] : T(0);
    const T base = g + h * (args.dentropy != nullptr ? args.entropy[row] : T(0));
    const int64_t target = args.targets[row];
    block.each([&](int thread) {
      for (int64_t i = thread; i < n; i += kThreads) {
        const T log_p = logits[i] * scale - logsumexp;
        T gradient = std::exp(log_p) * (log_p * h + base) * -scale;
        if (i == target) gradient += g * scale;
        logits[i] = gradient;
      }
    });
  }
};

}  // namespace orrery::kernels::blocks
