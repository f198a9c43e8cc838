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
  using Real = typename Args::Real;
  static constexpr int kThreads = 256;
  struct Shared {
    SoftmaxSums<Real> sums[kThreads];
  };

  static int64_t n_blocks(const Args& args) { return args.n_rows; }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const int64_t row = block.index(), n = args.vocab_size;
    const T* const logits = args.logits + row * n;
    const Real scale = static_cast<Real>(args.inverse_temperature);
    typename Block::template PerThread<SoftmaxSums<Real>> sums;
    block.each([&](int thread) {
      SoftmaxSums<Real> own{lowest(), Real(0), Real(0)};
      for (int64_t i = thread; i < n; i += kThreads) {
        const Real z = Arithmetic<T>::from(logits[i]) * scale;
        if (z > own.best) {
          own = JoinSums<Real>()({z, Real(1), Real(0)}, own);
        } else {
          const Real y = z - own.best, e = std::exp(y);
          own.total += e;
          if (e > Real(0)) own.weighted += y * e;
        }
      }
      sums[thread] = own;
    });
    const SoftmaxSums<Real> all = reduce(block, sums, shared.sums, JoinSums<Real>());
    block.each([&](int thread) {
      if (thread != 0) return;
      const Real log_total = std::log(all.total);
      const int64_t target = args.targets[row];
      const Real logit = target < 0 ? Real(0) : Arithmetic<T>::from(logits[target]) * scale;
      args.log_probs[row] = target < 0 ? Real(0) : logit - all.best - log_total;
      if (args.target_logits != nullptr) args.target_logits[row] = logit;
      if (args.logsumexp != nullptr) args.logsumexp[row] = all.best + log_total;
      if (args.entropy != nullptr) args.entropy[row] = log_total - all.weighted / all.total;
    });
  }

 private:
  /// Below every number that logits hold; `-inf - -inf` would be none.
  ORRERY_BLOCK static Real lowest() {
    return sizeof(Real) == 4 ? Real(-3.402823466e38) : Real(-1.7e308);
  }
};

/// dz = (g (onehot - p) - h p (log p + H)) / t, as in the CPU's.
template <class T>
struct TokenLogProbsBackwardProgram {
  using Args = TokenLogProbsBackwardArgs<T>;
  using Real = typename Args::Real;
  static constexpr int kThreads = 256;
  struct Shared {};

  static int64_t n_blocks(const Args& args) { return args.n_rows; }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared&) {
    const int64_t row = block.index(), n = args.vocab_size;
    T* const logits = args.logits + row * n;
    const Real scale = static_cast<Real>(args.inverse_temperature);
    const Real logsumexp = args.logsumexp[row];
    const Real g = args.dlog_probs != nullptr ? args.dlog_probs[row] : Real(0);
    const Real h = args.dentropy != nullptr ? args.dentropy[row] : Real(0);
    const Real base = g + h * (args.dentropy != nullptr ? args.entropy[row] : Real(0));
    const int64_t target = args.targets[row];
    block.each([&](int thread) {
      for (int64_t i = thread; i < n; i += kThreads) {
        const Real log_p = Arithmetic<T>::from(logits[i]) * scale - logsumexp;
        Real gradient = std::exp(log_p) * (log_p * h + base) * -scale;
        if (i == target) gradient += g * scale;
        logits[i] = Arithmetic<T>::to(gradient);
      }
    });
  }
};

}  // namespace orrery::kernels::blocks
