// One block per row of logits. What a sort would tell is found by bisection over the ordered bits
// of numbers: the k-th largest logit by counts, the least weight inside top-p by sums. Sums are in
// double and always in the same tree, so a row's token does not depend on other rows, and it is the
// CPU's: weights are the same bits (exp_as_cpu), only the order of sums differs.
#pragma once

#include <cmath>
#include <cstring>  // memcpy

#include "blocks/block.h"
#include "orrery/kernels/sample_rows.h"

namespace orrery::kernels::blocks {

template <class T>
struct Bits;
template <>
struct Bits<float> {
  using Type = uint32_t;
  static constexpr int kMantissa = 23;
  static constexpr float kLowest = -3.40282346638528859812e38F;  // removed_logit()
};
template <>
struct Bits<double> {
  using Type = uint64_t;
  static constexpr int kMantissa = 52;
  static constexpr double kLowest = -1.79769313486231570815e308;
};

template <class T>
ORRERY_BLOCK typename Bits<T>::Type bits_of(T x) {
  typename Bits<T>::Type bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/// An integer that orders as the numbers do. Zeros of both signs are equal.
template <class T>
ORRERY_BLOCK typename Bits<T>::Type ordered(T x) {
  using U = typename Bits<T>::Type;
  constexpr U kSign = U{1} << (8 * sizeof(U) - 1);
  const U bits = bits_of(x == T(0) ? T(0) : x);
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

/// Its constants, as the CPU's src/kernels/target/simd.h has them; a test compares the results bit
/// for bit.
template <class T>
struct ExpOf;
template <>
struct ExpOf<float> {
  static constexpr float kLog2e = 1.44269504F;
  static constexpr float kLn2High = 0.693359375F, kLn2Low = -2.12194440e-4F;
  static constexpr float kRound = 12582912.0F;
  static constexpr float kSmallest = -87.0F;
  static constexpr int kTerms = 8;
};
template <>
struct ExpOf<double> {
  static constexpr double kLog2e = 1.4426950408889634;
  static constexpr double kLn2High = 6.93147180369123816490e-01;
  static constexpr double kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kRound = 6755399441055744.0;
  static constexpr double kSmallest = -708.0;
  static constexpr int kTerms = 14;
};

/// e^x for x <= 0, by the steps and roundings of the CPU's vector code with fused multiply-add.
template <class T>
ORRERY_BLOCK T exp_as_cpu(T x) {
  using C = ExpOf<T>;
  using U = typename Bits<T>::Type;
  if (x < C::kSmallest) return T(0);
  const T shifted = std::fma(x, T(C::kLog2e), T(C::kRound));
  const T n = shifted - C::kRound;
  const T r = std::fma(-n, T(C::kLn2Low), std::fma(-n, T(C::kLn2High), x));
  constexpr double kInverseFactorial[14] = {1.0,
                                            1.0,
                                            1.0 / 2,
                                            1.0 / 6,
                                            1.0 / 24,
                                            1.0 / 120,
                                            1.0 / 720,
                                            1.0 / 5040,
                                            1.0 / 40320,
                                            1.0 / 362880,
                                            1.0 / 3628800,
                                            1.0 / 39916800,
                                            1.0 / 479001600,
                                            1.0 / 6227020800};
  T p = static_cast<T>(kInverseFactorial[C::kTerms - 1]);
  ORRERY_UNROLL
  for (int i = C::kTerms - 2; i >= 0; --i) p = std::fma(p, r, static_cast<T>(kInverseFactorial[i]));
  const U bits = bits_of(p) + (bits_of(shifted) << Bits<T>::kMantissa);
  memcpy(&p, &bits, sizeof p);
  return p;
}

template <class T>
struct SampleRowsProgram {
  using Args = SampleRowsArgs<T>;
  using U = typename Bits<T>::Type;
  static constexpr int kThreads = 256;
  struct Best {
    T logit;
    int64_t token;
  };
  struct Place {  // of a draw: the segment it is in, and the sum of weights before that
    int64_t segment;
    double before;
  };
  struct Shared {
    Best best[kThreads];
    double sums[kThreads];
    int64_t counts[kThreads];
    Place place;
  };
  struct Normaliser {  // log sum exp of a row is best + log_total
    double best, log_total;
  };

  static int64_t n_blocks(const Args& args) { return args.n_rows; }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const int64_t row = block.index(), n = args.vocab_size;
    T* const logits = args.logits + row * n;
    T* const weights = args.weights + row * n;
    const DrawKey key = args.keys[row];
    const T scale = args.temperature == 1 ? T(1) : static_cast<T>(1 / args.temperature);
    const bool has_top_k = !args.greedy && args.top_k < n;
    const bool has_top_p = !args.greedy && args.top_p < 1;
    const bool bars_stop_ids = static_cast<int64_t>(key.position) < args.min_new_tokens;
    const bool is_changed =
        args.greedy || bars_stop_ids || has_top_k || has_top_p || args.n_never_ids > 0;
    Normaliser policy{0, 0};
    if (is_changed) policy = normaliser_of(block, shared, logits, weights, n, scale);
    block.each([&](int thread) {
      for (int64_t i = thread; bars_stop_ids && i < args.n_stop_ids; i += kThreads) {
        logits[args.stop_ids[i]] = Bits<T>::kLowest;
      }
      for (int64_t i = thread; i < args.n_never_ids; i += kThreads) {
        logits[args.never_ids[i]] = Bits<T>::kLowest;
      }
    });
    if (!args.greedy && args.temperature != 1) {
      block.each([&](int thread) {
        for (int64_t i = thread; i < n; i += kThreads) logits[i] *= scale;
      });
    }
    const U k_limit = has_top_k ? kth_largest(block, shared, logits, n, args.top_k) : U{0};
    const Best best = best_of(block, shared, logits, n);
    if (args.greedy) {
      block.each([&](int thread) {
        if (thread != 0) return;
        args.tokens[row] = best.token;
        args.log_probs[row] = log_prob(policy, best.logit * scale);
        args.sampling_log_probs[row] = 0;
      });
      return;
    }
    block.each([&](int thread) {
      for (int64_t i = thread; i < n; i += kThreads) {
        const bool is_out = has_top_k && args.top_k_first && ordered(logits[i]) < k_limit;
        if (is_out) logits[i] = Bits<T>::kLowest;
        weights[i] = exp_as_cpu(logits[i] - best.logit);
      }
    });
    if (has_top_p) remove_beyond_top_p(block, shared, logits, weights, n, args.top_p);
    if (has_top_k && !args.top_k_first) {
      block.each([&](int thread) {
        for (int64_t i = thread; i < n; i += kThreads) {
          if (ordered(logits[i]) >= k_limit) continue;
          logits[i] = Bits<T>::kLowest;
          weights[i] = T(0);
        }
      });
    }
    const double total =
        sum_of(block, shared, n, [&](int64_t i) { return static_cast<double>(weights[i]); });
    const int64_t token = drawn(block, shared, weights, n, uniform_of(key) * total);
    block.each([&](int thread) {
      if (thread != 0) return;
      const double drawn_from =
          log_prob({static_cast<double>(best.logit), std::log(total)}, logits[token]);
      args.tokens[row] = token;
      args.log_probs[row] = is_changed ? log_prob(policy, logits[token]) : drawn_from;
      args.sampling_log_probs[row] = drawn_from;
    });
  }

 private:
  ORRERY_BLOCK static double log_prob(const Normaliser& row, T logit) {
    return static_cast<double>(logit) - row.best - row.log_total;
  }

  /// Of logits * scale. Products are rounded in memory: fused with the subtraction they would be
  /// other numbers than the CPU's.
  template <class Block>
  ORRERY_BLOCK static Normaliser normaliser_of(Block& block, Shared& shared, const T* logits,
                                               T* weights, int64_t n, T scale) {
    block.each([&](int thread) {
      for (int64_t i = thread; i < n; i += kThreads) weights[i] = logits[i] * scale;
    });
    const T best = best_of(block, shared, weights, n).logit;
    const double total = sum_of(block, shared, n, [&](int64_t i) {
      return static_cast<double>(exp_as_cpu(weights[i] - best));
    });
    return {static_cast<double>(best), std::log(total)};
  }

  struct Better {
    ORRERY_BLOCK Best operator()(const Best& a, const Best& b) const {
      if (a.logit != b.logit) return a.logit > b.logit ? a : b;
      return a.token < b.token ? a : b;
    }
  };

  /// The largest logit, of equals the first.
  template <class Block>
  ORRERY_BLOCK static Best best_of(Block& block, Shared& shared, const T* logits, int64_t n) {
    typename Block::template PerThread<Best> own;
    block.each([&](int thread) {
      own[thread] = {logits[0], 0};
      for (int64_t i = thread; i < n; i += kThreads) {
        if (logits[i] > own[thread].logit) own[thread] = {logits[i], i};
      }
    });
    return reduce(block, own, shared.best, Better());
  }

  template <class Block, class Value>
  ORRERY_BLOCK static double sum_of(Block& block, Shared& shared, int64_t n, const Value& value) {
    typename Block::template PerThread<double> own;
    block.each([&](int thread) {
      own[thread] = 0;
      for (int64_t i = thread; i < n; i += kThreads) own[thread] += value(i);
    });
    return reduce(block, own, shared.sums, Sum<double>());
  }

  template <class Block, class Predicate>
  ORRERY_BLOCK static int64_t count_of(Block& block, Shared& shared, int64_t n,
                                       const Predicate& predicate) {
    typename Block::template PerThread<int64_t> own;
    block.each([&](int thread) {
      own[thread] = 0;
      for (int64_t i = thread; i < n; i += kThreads) own[thread] += predicate(i) ? 1 : 0;
    });
    return reduce(block, own, shared.counts, Sum<int64_t>());
  }

  /// The largest x that is true for the ordered bits of numbers, where is_true(x) turns from true
  /// to false as x grows: bit by bit from the highest.
  template <class Predicate>
  ORRERY_BLOCK static U largest_true(const Predicate& is_true) {
    U x = 0;
    for (int bit = 8 * static_cast<int>(sizeof(U)) - 1; bit >= 0; --bit) {
      const U candidate = x | (U{1} << bit);
      if (is_true(candidate)) x = candidate;
    }
    return x;
  }

  template <class Block>
  ORRERY_BLOCK static U kth_largest(Block& block, Shared& shared, const T* logits, int64_t n,
                                    int64_t k) {
    return largest_true([&](U x) {
      return count_of(block, shared, n, [&](int64_t i) { return ordered(logits[i]) >= x; }) >= k;
    });
  }

  /// Most likely first, of equals the lowest token, those stay whose sum of weights before them is
  /// less than p times all.
  template <class Block>
  ORRERY_BLOCK static void remove_beyond_top_p(Block& block, Shared& shared, T* logits, T* weights,
                                               int64_t n, double top_p) {
    const double limit = top_p * sum_of(block, shared, n,
                                        [&](int64_t i) { return static_cast<double>(weights[i]); });
    const auto sum_from = [&](U x) {
      return sum_of(block, shared, n, [&](int64_t i) {
        return ordered(weights[i]) >= x ? static_cast<double>(weights[i]) : 0.0;
      });
    };
    // The least weight of which some stay: all of it and above reach the limit.
    const U edge = largest_true([&](U x) { return sum_from(x) >= limit; });
    const double above = sum_from(edge + 1);
    const int64_t n_at_edge =
        count_of(block, shared, n, [&](int64_t i) { return ordered(weights[i]) == edge; });
    const int64_t n_stay = number_below(above, weight_of(edge), limit, n_at_edge);
    int64_t last_token = n - 1;  // of those at the edge that stay
    if (n_stay < n_at_edge) {
      int64_t low = 0, high = n - 1;
      while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const int64_t found = count_of(block, shared, middle + 1,
                                       [&](int64_t i) { return ordered(weights[i]) == edge; });
        if (found >= n_stay) {
          high = middle;
        } else {
          low = middle + 1;
        }
      }
      last_token = low;
    }
    block.each([&](int thread) {
      for (int64_t i = thread; i < n; i += kThreads) {
        const U x = ordered(weights[i]);
        if (x > edge || (x == edge && i <= last_token)) continue;
        logits[i] = Bits<T>::kLowest;
        weights[i] = T(0);
      }
    });
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

  /// The first token whose cumulative weight is greater than `target`; the last of weight > 0 when
  /// rounding leaves the sum short. Segments, then segments of that segment, down to one number.
  template <class Block>
  ORRERY_BLOCK static int64_t drawn(Block& block, Shared& shared, const T* weights, int64_t n,
                                    double target) {
    int64_t low = 0, high = n;
    double before = 0;
    while (high - low > 1) {
      const int64_t length = ceil_div(high - low, kThreads);
      block.each([&](int thread) {
        const int64_t begin = low + thread * length;
        const int64_t end = smaller_of(begin + length, high);
        double sum = 0;
        for (int64_t i = begin; i < end; ++i) sum += static_cast<double>(weights[i]);
        shared.sums[thread] = sum;
      });
      block.each([&](int thread) {
        if (thread != 0) return;
        Place place{0, before};
        double cumulative = before;
        for (int segment = 0; segment < kThreads; ++segment) {
          if (shared.sums[segment] == 0) continue;
          place = {segment, cumulative};
          cumulative += shared.sums[segment];
          if (cumulative > target) break;
        }
        shared.place = place;
      });
      const Place place = block.uniform(shared.place);
      low += place.segment * length;
      high = smaller_of(low + length, high);
      before = place.before;
    }
    return low;
  }
};

}  // namespace orrery::kernels::blocks
