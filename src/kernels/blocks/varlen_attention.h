// Plain attention over packed sequences: what models are compared by, and where flash attention
// does not compute. A block has one query of one head, or in the backward pass one
// key of one key head, and goes over the other side in chunks of its threads. Every sum has one
// order.
#pragma once

#include <cmath>

#include "blocks/block.h"
#include "blocks/token_log_probs.h"  // JoinSums
#include "orrery/kernels/varlen_attention.h"

namespace orrery::kernels::blocks {

constexpr int kAttentionThreads = 64;
constexpr int kOwnNumbers = 4;  // of a head, by each thread
constexpr int64_t kMostHeadNumbers = int64_t{kAttentionThreads} * kOwnNumbers;

/// Numbers `thread`, `thread` + kAttentionThreads, ... of a head.
template <class T>
struct OwnNumbers {
  using Real = typename Arithmetic<T>::Type;
  Real sums[kOwnNumbers];

  ORRERY_BLOCK void clear() {
    for (Real& sum : sums) sum = 0;
  }
  ORRERY_BLOCK void add(Real factor, const T* head, int thread, int64_t head_dim) {
    ORRERY_UNROLL
    for (int i = 0; i < kOwnNumbers; ++i) {
      const int64_t d = thread + i * kAttentionThreads;
      if (d < head_dim) sums[i] += factor * Arithmetic<T>::from(head[d]);
    }
  }
  ORRERY_BLOCK void write(T* head, int thread, int64_t head_dim) const {
    ORRERY_UNROLL
    for (int i = 0; i < kOwnNumbers; ++i) {
      const int64_t d = thread + i * kAttentionThreads;
      if (d < head_dim) head[d] = Arithmetic<T>::to(sums[i]);
    }
  }
};

template <class T>
ORRERY_BLOCK typename Arithmetic<T>::Type dot(const T* a, const T* b, int64_t n) {
  typename Arithmetic<T>::Type sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += Arithmetic<T>::from(a[i]) * Arithmetic<T>::from(b[i]);
  return sum;
}

/// Rows of a sequence that see or are seen by one row.
struct Span {
  int64_t begin, end;
};

/// The sequence of a packed row.
ORRERY_BLOCK Span sequence_of(const AttentionShape& shape, int64_t row) {
  int64_t low = 0, high = shape.n_sequences;  // begins of low are <= row, of high beyond it
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (shape.cu_seqlens[middle] <= row ? low : high) = middle;
  }
  return {shape.cu_seqlens[low], shape.cu_seqlens[low + 1]};
}
ORRERY_BLOCK Span keys_of(const AttentionShape& shape, int64_t query) {
  const int64_t begin = sequence_of(shape, query).begin;
  return {shape.window == 0 ? begin : larger_of(begin, query - shape.window + 1), query + 1};
}
ORRERY_BLOCK Span queries_of(const AttentionShape& shape, int64_t key) {
  const int64_t end = sequence_of(shape, key).end;
  return {key, shape.window == 0 ? end : smaller_of(end, key + shape.window)};
}

template <class T>
struct VarlenAttentionProgram {
  using Args = VarlenAttentionArgs<T>;
  using Real = typename Args::Real;
  static constexpr int kThreads = kAttentionThreads;
  struct Shared {
    SoftmaxSums<Real> sums[kThreads];
    Real probabilities[kThreads];
  };

  static int64_t n_blocks(const Args& args) { return args.shape.n_tokens * args.shape.n_heads; }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const AttentionShape& shape = args.shape;
    const int64_t row = block.index() / shape.n_heads, head = block.index() % shape.n_heads;
    const int64_t kv_head = head / (shape.n_heads / shape.n_kv_heads), dim = shape.head_dim;
    const T* const q = args.q + row * args.q_stride + head * dim;
    const Span keys = keys_of(shape, row);
    const auto score = [&](int64_t key) {
      return dot(q, args.k + key * args.k_stride + kv_head * dim, dim) *
             static_cast<Real>(shape.scale);
    };
    typename Block::template PerThread<SoftmaxSums<Real>> sums;
    block.each([&](int thread) {
      SoftmaxSums<Real> own{score(keys.begin), Real(0), Real(0)};
      for (int64_t key = keys.begin + thread; key < keys.end; key += kThreads) {
        own = JoinSums<Real>()(own, {score(key), Real(1), Real(0)});
      }
      sums[thread] = own;
    });
    const SoftmaxSums<Real> all = reduce(block, sums, shared.sums, JoinSums<Real>());
    const Real logsumexp = all.best + std::log(all.total);

    typename Block::template PerThread<OwnNumbers<T>> out;
    block.each([&](int thread) { out[thread].clear(); });
    for (int64_t first = keys.begin; first < keys.end; first += kThreads) {
      const int64_t n = smaller_of(kThreads, keys.end - first);
      block.each([&](int thread) {
        if (thread < n) shared.probabilities[thread] = std::exp(score(first + thread) - logsumexp);
      });
      block.each([&](int thread) {
        for (int64_t i = 0; i < n; ++i) {
          out[thread].add(shared.probabilities[i],
                          args.v + (first + i) * args.v_stride + kv_head * dim, thread, dim);
        }
      });
    }
    block.each([&](int thread) {
      out[thread].write(args.out + row * args.out_stride + head * dim, thread, dim);
      if (thread == 0 && args.logsumexp != nullptr) {
        args.logsumexp[row * shape.n_heads + head] = logsumexp;
      }
    });
  }
};

/// A pair of a query and a key: its probability, and the gradient by its score times the scale.
template <class Real>
struct PairGradient {
  Real probability, score;
};

/// `delta`: sum of dout out over the query's head.
template <class T, class Real = typename Arithmetic<T>::Type>
ORRERY_BLOCK PairGradient<Real> pair_gradient(const VarlenAttentionBackwardArgs<T>& args,
                                              int64_t query, int64_t key, int64_t head,
                                              Real delta) {
  const AttentionShape& shape = args.shape;
  const int64_t dim = shape.head_dim, kv_head = head / (shape.n_heads / shape.n_kv_heads);
  const Real scale = static_cast<Real>(shape.scale);
  const T* const k = args.k + key * args.k_stride + kv_head * dim;
  const T* const v = args.v + key * args.v_stride + kv_head * dim;
  const Real score = dot(args.q + query * args.q_stride + head * dim, k, dim) * scale;
  const Real probability = std::exp(score - args.logsumexp[query * shape.n_heads + head]);
  const Real by_probability = dot(args.dout + query * args.dout_stride + head * dim, v, dim);
  return {probability, probability * (by_probability - delta) * scale};
}

template <class T>
ORRERY_BLOCK typename Arithmetic<T>::Type delta_of(const VarlenAttentionBackwardArgs<T>& args,
                                                   int64_t query, int64_t head) {
  const int64_t dim = args.shape.head_dim;
  return dot(args.dout + query * args.dout_stride + head * dim,
             args.out + query * args.out_stride + head * dim, dim);
}

/// dq.
template <class T>
struct AttentionQueryGradientProgram {
  using Args = VarlenAttentionBackwardArgs<T>;
  static constexpr int kThreads = kAttentionThreads;
  struct Shared {
    typename Args::Real scores[kThreads];
  };

  static int64_t n_blocks(const Args& args) { return args.shape.n_tokens * args.shape.n_heads; }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const AttentionShape& shape = args.shape;
    const int64_t row = block.index() / shape.n_heads, head = block.index() % shape.n_heads;
    const int64_t kv_head = head / (shape.n_heads / shape.n_kv_heads), dim = shape.head_dim;
    const Span keys = keys_of(shape, row);
    typename Block::template PerThread<OwnNumbers<T>> dq;
    block.each([&](int thread) { dq[thread].clear(); });
    for (int64_t first = keys.begin; first < keys.end; first += kThreads) {
      const int64_t n = smaller_of(kThreads, keys.end - first);
      block.each([&](int thread) {
        if (thread >= n) return;
        const auto delta = delta_of(args, row, head);
        shared.scores[thread] = pair_gradient(args, row, first + thread, head, delta).score;
      });
      block.each([&](int thread) {
        for (int64_t i = 0; i < n; ++i) {
          dq[thread].add(shared.scores[i], args.k + (first + i) * args.k_stride + kv_head * dim,
                         thread, dim);
        }
      });
    }
    block.each([&](int thread) {
      dq[thread].write(args.dq + row * args.dq_stride + head * dim, thread, dim);
    });
  }
};

/// dk and dv.
template <class T>
struct AttentionKeyGradientProgram {
  using Args = VarlenAttentionBackwardArgs<T>;
  static constexpr int kThreads = kAttentionThreads;
  struct Shared {
    PairGradient<typename Args::Real> pairs[kThreads];
  };

  static int64_t n_blocks(const Args& args) { return args.shape.n_tokens * args.shape.n_kv_heads; }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const AttentionShape& shape = args.shape;
    const int64_t key = block.index() / shape.n_kv_heads,
                  kv_head = block.index() % shape.n_kv_heads;
    const int64_t group = shape.n_heads / shape.n_kv_heads, dim = shape.head_dim;
    const Span queries = queries_of(shape, key);
    typename Block::template PerThread<OwnNumbers<T>> dk, dv;
    block.each([&](int thread) {
      dk[thread].clear();
      dv[thread].clear();
    });
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      for (int64_t first = queries.begin; first < queries.end; first += kThreads) {
        const int64_t n = smaller_of(kThreads, queries.end - first);
        block.each([&](int thread) {
          if (thread >= n) return;
          const auto delta = delta_of(args, first + thread, head);
          shared.pairs[thread] = pair_gradient(args, first + thread, key, head, delta);
        });
        block.each([&](int thread) {
          for (int64_t i = 0; i < n; ++i) {
            dk[thread].add(shared.pairs[i].score, args.q + (first + i) * args.q_stride + head * dim,
                           thread, dim);
            dv[thread].add(shared.pairs[i].probability,
                           args.dout + (first + i) * args.dout_stride + head * dim, thread, dim);
          }
        });
      }
    }
    block.each([&](int thread) {
      dk[thread].write(args.dk + key * args.dk_stride + kv_head * dim, thread, dim);
      dv[thread].write(args.dv + key * args.dv_stride + kv_head * dim, thread, dim);
    });
  }
};

template <class T, class Runner>
void varlen_attention_backward(const VarlenAttentionBackwardArgs<T>& args, const Runner& runner) {
  runner.template run<AttentionQueryGradientProgram<T>>(args);
  runner.template run<AttentionKeyGradientProgram<T>>(args);
}

}  // namespace orrery::kernels::blocks
