// Forward: a block a head of a token. Backward: a block a chunk of tokens, of either their queries
// or their keys, which sums its part of the norm's gradient. A thread has pairs (d, d + D/2), of
// one head after another the same ones.
#pragma once

#include <cmath>

#include "blocks/column_sums.h"
#include "orrery/kernels/rotate_heads.h"

namespace orrery::kernels::blocks {

/// A pair of a head and how it turns.
template <class Real>
struct Turn {
  Real cosine = 1, sine = 0;
};

/// A head of a token: where it is, and what it is multiplied with.
template <class T>
struct Head {
  using Real = typename Arithmetic<T>::Type;

  ORRERY_BLOCK Head(const HeadsArgs<T>& args, int64_t token, int64_t head)
      : args(args), token(token), head(head), half(args.head_dim / 2) {}

  ORRERY_BLOCK const T* x() const { return args.x + token * args.x_stride + head * args.head_dim; }
  ORRERY_BLOCK bool is_query() const { return head < args.n_heads; }
  ORRERY_BLOCK Real* rstd() const {
    if (args.rstd == nullptr) return nullptr;
    if (is_query()) return args.rstd + token * args.n_heads + head;
    return args.rstd + args.n_tokens * args.n_heads + token * args.n_kv_heads + head - args.n_heads;
  }
  ORRERY_BLOCK Real weight(int64_t d) const {
    return Arithmetic<T>::from((is_query() ? args.query_weight : args.key_weight)[d]) +
           static_cast<Real>(args.weight_offset);
  }
  ORRERY_BLOCK Turn<Real> turn(int64_t pair) const {
    if (args.cosines == nullptr) return {};
    const int64_t at = args.positions[token] * half + pair;
    return {args.cosines[at], args.sines[at]};
  }

  const HeadsArgs<T>& args;
  int64_t token, head, half;
};

template <class T>
struct RotateHeadsProgram {
  using Args = RotateHeadsArgs<T>;
  using Real = typename Arithmetic<T>::Type;
  static constexpr int kThreads = 64;
  struct Shared {
    Real sums[kThreads];
  };

  static int64_t n_blocks(const Args& args) {
    return args.heads.n_tokens * (args.heads.n_heads + args.heads.n_kv_heads);
  }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const int64_t n_heads = args.heads.n_heads + args.heads.n_kv_heads;
    const Head<T> head(args.heads, block.index() / n_heads, block.index() % n_heads);
    const T* const x = head.x();
    T* const y = args.y + head.token * args.y_stride + head.head * args.heads.head_dim;
    const bool is_normed = args.heads.query_weight != nullptr;
    const Real rstd = is_normed ? norm(block, head, shared) : Real(1);
    block.each([&](int thread) {
      if (thread == 0 && head.rstd() != nullptr) *head.rstd() = rstd;
      for (int64_t i = thread; i < head.half; i += kThreads) {
        Real a = Arithmetic<T>::from(x[i]), b = Arithmetic<T>::from(x[head.half + i]);
        if (is_normed) {
          a *= rstd * head.weight(i);
          b *= rstd * head.weight(head.half + i);
        }
        const Turn<Real> turn = head.turn(i);
        y[i] = Arithmetic<T>::to(a * turn.cosine - b * turn.sine);
        y[head.half + i] = Arithmetic<T>::to(b * turn.cosine + a * turn.sine);
      }
    });
  }

 private:
  template <class Block>
  ORRERY_BLOCK static Real norm(Block& block, const Head<T>& head, Shared& shared) {
    typename Block::template PerThread<Real> squares;
    const T* const x = head.x();
    block.each([&](int thread) {
      Real sum = 0;
      for (int64_t i = thread; i < 2 * head.half; i += kThreads) {
        sum += Arithmetic<T>::from(x[i]) * Arithmetic<T>::from(x[i]);
      }
      squares[thread] = sum;
    });
    const Real sum = reduce(block, squares, shared.sums, Sum<Real>());
    return Real(1) / std::sqrt(sum / static_cast<Real>(head.args.head_dim) +
                               static_cast<Real>(head.args.eps));
  }
};

/// With h = x r and g = (the gradient turned back) w: dx = r (g - h mean(g h)), dw = sum of g h /
/// w.
template <class T>
struct RotateHeadsBackwardProgram {
  using Args = RotateHeadsBackwardArgs<T>;
  using Real = typename Arithmetic<T>::Type;
  static constexpr int kThreads = 64;
  struct Shared {
    Real sums[kThreads];
  };

  static int64_t n_blocks(const Args& args) { return 2 * n_chunks(args.heads.n_tokens); }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const HeadsArgs<T>& heads = args.heads;
    const int64_t chunk = block.index() / 2, rows = rows_per_chunk(heads.n_tokens);
    const bool has_queries = block.index() % 2 == 0;
    const int64_t first_head = has_queries ? 0 : heads.n_heads;
    const int64_t end_head = has_queries ? heads.n_heads : heads.n_heads + heads.n_kv_heads;
    const bool is_normed = heads.query_weight != nullptr;
    Real* const dweight = is_normed ? args.scratch + block.index() * heads.head_dim : nullptr;
    block.each([&](int thread) {
      if (!is_normed) return;
      for (int64_t i = thread; i < heads.head_dim / 2; i += kThreads) {
        dweight[i] = dweight[heads.head_dim / 2 + i] = 0;
      }
    });
    for (int64_t token = chunk * rows; token < smaller_of((chunk + 1) * rows, heads.n_tokens);
         ++token) {
      for (int64_t head = first_head; head < end_head; ++head) {
        const Head<T> one(heads, token, head);
        T* const gradient = args.gradient + token * args.gradient_stride + head * heads.head_dim;
        turn_back(block, one, gradient);
        if (is_normed) norm_backward(block, one, gradient, dweight, shared);
      }
    }
  }

 private:
  template <class Block>
  ORRERY_BLOCK static void turn_back(Block& block, const Head<T>& head, T* gradient) {
    if (head.args.cosines == nullptr) return;
    block.each([&](int thread) {
      for (int64_t i = thread; i < head.half; i += kThreads) {
        const Real a = Arithmetic<T>::from(gradient[i]);
        const Real b = Arithmetic<T>::from(gradient[head.half + i]);
        const Turn<Real> turn = head.turn(i);
        gradient[i] = Arithmetic<T>::to(a * turn.cosine + b * turn.sine);
        gradient[head.half + i] = Arithmetic<T>::to(b * turn.cosine - a * turn.sine);
      }
    });
  }

  template <class Block>
  ORRERY_BLOCK static void norm_backward(Block& block, const Head<T>& head, T* gradient,
                                         Real* dweight, Shared& shared) {
    typename Block::template PerThread<Real> products;
    const T* const x = head.x();
    const Real rstd = *head.rstd(), n = static_cast<Real>(head.args.head_dim);
    const auto each_of = [&](int thread, const auto& work) {
      for (int64_t i = thread; i < head.half; i += kThreads) {
        work(i);
        work(head.half + i);
      }
    };
    block.each([&](int thread) {
      Real sum = 0;
      each_of(thread, [&](int64_t d) {
        sum += Arithmetic<T>::from(gradient[d]) * head.weight(d) * Arithmetic<T>::from(x[d]) * rstd;
      });
      products[thread] = sum;
    });
    const Real mean = reduce(block, products, shared.sums, Sum<Real>()) / n;
    block.each([&](int thread) {
      each_of(thread, [&](int64_t d) {
        const Real h = Arithmetic<T>::from(x[d]) * rstd, dy = Arithmetic<T>::from(gradient[d]);
        dweight[d] += dy * h;
        gradient[d] = Arithmetic<T>::to(rstd * (dy * head.weight(d) - h * mean));
      });
    });
  }
};

template <class T, class Runner>
void rotate_heads_backward(const RotateHeadsBackwardArgs<T>& args, const Runner& runner) {
  using Join = JoinChunksProgram<typename Arithmetic<T>::Type>;
  const int64_t chunks = n_chunks(args.heads.n_tokens), width = args.heads.head_dim;
  runner.template run<RotateHeadsBackwardProgram<T>>(args);
  if (args.heads.query_weight == nullptr) return;
  runner.template run<Join>({args.scratch, args.dquery_weight, chunks, 2 * width, width});
  runner.template run<Join>({args.scratch + width, args.dkey_weight, chunks, 2 * width, width});
}

}  // namespace orrery::kernels::blocks
