// Forward: one block a row, which is read twice or, with a mean, three times; all but the first
// find it in the L1 cache. Backward: a block has a chunk of rows and sums their part of the
// weight's gradient, which column_sums.h joins.
#pragma once

#include <cmath>

#include "blocks/block.h"
#include "blocks/column_sums.h"
#include "orrery/kernels/norm_rows.h"

namespace orrery::kernels::blocks {

template <class T>
struct NormRowsProgram {
  using Args = NormRowsArgs<T>;
  using Real = typename Args::Real;
  static constexpr int kThreads = 256;
  struct Shared {
    Real sums[kThreads];
  };

  static int64_t n_blocks(const Args& args) { return args.n_rows; }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const int64_t first = block.index() * args.width;
    const T* const x = (args.added != nullptr ? args.sum : args.x) + first;
    if (args.added != nullptr) {
      block.each([&](int thread) {
        for (int64_t i = first + thread; i < first + args.width; i += kThreads) {
          args.sum[i] = Arithmetic<T>::to(Arithmetic<T>::from(args.x[i]) +
                                          Arithmetic<T>::from(args.added[i]));
        }
      });
    }
    const Real n = static_cast<Real>(args.width);
    const Real mean =
        args.is_centered ? sum_of(block, args, shared, [&](int64_t i) { return at(x, i); }) / n : 0;
    const Real squares = sum_of(block, args, shared, [&](int64_t i) {
      const Real from_mean = at(x, i) - mean;
      return from_mean * from_mean;
    });
    const Real rstd = Real(1) / std::sqrt(squares / n + static_cast<Real>(args.eps));
    const Real offset = static_cast<Real>(args.weight_offset);
    block.each([&](int thread) {
      if (thread == 0 && args.rstd != nullptr) args.rstd[block.index()] = rstd;
      for (int64_t i = thread; i < args.width; i += kThreads) {
        Real y = (at(x, i) - mean) * rstd * (at(args.weight, i) + offset);
        if (args.bias != nullptr) y += at(args.bias, i);
        args.y[first + i] = Arithmetic<T>::to(y);
      }
    });
  }

 private:
  ORRERY_BLOCK static Real at(const T* x, int64_t i) { return Arithmetic<T>::from(x[i]); }

  /// The sum of value(i) over the row.
  template <class Block, class Value>
  ORRERY_BLOCK static Real sum_of(Block& block, const Args& args, Shared& shared,
                                  const Value& value) {
    typename Block::template PerThread<Real> sums;
    block.each([&](int thread) {
      Real sum = 0;
      for (int64_t i = thread; i < args.width; i += kThreads) sum += value(i);
      sums[thread] = sum;
    });
    return reduce(block, sums, shared.sums, Sum<Real>());
  }
};

/// With h = (x - m) r and g = dy (w + c): dx = r (g - h mean(g h) - [layer norm] mean(g)),
/// dw = sum of dy h, db = sum of dy.
template <class T>
struct NormRowsBackwardProgram {
  using Args = NormRowsBackwardArgs<T>;
  using Real = typename Args::Real;
  static constexpr int kThreads = 256;
  struct Sums {
    Real x, g, gh;
  };
  struct AddSums {
    ORRERY_BLOCK Sums operator()(const Sums& a, const Sums& b) const {
      return {a.x + b.x, a.g + b.g, a.gh + b.gh};
    }
  };
  struct Shared {
    Sums sums[kThreads];
  };

  static int64_t n_blocks(const Args& args) { return n_chunks(args.n_rows); }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const int64_t begin = block.index() * rows_per_chunk(args.n_rows);
    const int64_t end = smaller_of(begin + rows_per_chunk(args.n_rows), args.n_rows);
    // A chunk's sums for the weight, and behind them those for the bias.
    Real* const dweight = args.scratch + block.index() * 2 * args.width;
    Real* const dbias = dweight + args.width;
    block.each([&](int thread) {
      for (int64_t i = thread; i < 2 * args.width; i += kThreads) dweight[i] = 0;
    });
    for (int64_t row = begin; row < end; ++row) run_row(block, args, shared, row, dweight, dbias);
  }

 private:
  template <class Block>
  ORRERY_BLOCK static void run_row(Block& block, const Args& args, Shared& shared, int64_t row,
                                   Real* dweight, Real* dbias) {
    const T* const x = args.x + row * args.width;
    const T* const dy = args.dy + row * args.width;
    T* const dx = args.dx + row * args.width;
    const Real rstd = args.rstd[row], n = static_cast<Real>(args.width);
    const Real offset = static_cast<Real>(args.weight_offset);
    const auto at = [](const T* values, int64_t i) { return Arithmetic<T>::from(values[i]); };
    typename Block::template PerThread<Sums> sums;

    Real mean = 0;
    if (args.is_centered) {
      block.each([&](int thread) {
        Sums own{0, 0, 0};
        for (int64_t i = thread; i < args.width; i += kThreads) own.x += at(x, i);
        sums[thread] = own;
      });
      mean = reduce(block, sums, shared.sums, AddSums()).x / n;
    }
    block.each([&](int thread) {
      Sums own{0, 0, 0};
      for (int64_t i = thread; i < args.width; i += kThreads) {
        const Real g = at(dy, i) * (at(args.weight, i) + offset);
        own.g += g;
        own.gh += g * (at(x, i) - mean) * rstd;
      }
      sums[thread] = own;
    });
    const Sums all = reduce(block, sums, shared.sums, AddSums());
    const Real mean_g = args.is_centered ? all.g / n : Real(0), mean_gh = all.gh / n;
    block.each([&](int thread) {
      for (int64_t i = thread; i < args.width; i += kThreads) {
        const Real h = (at(x, i) - mean) * rstd, d = at(dy, i);
        dweight[i] += d * h;
        dbias[i] += d;
        Real gradient = rstd * (d * (at(args.weight, i) + offset) - mean_g - h * mean_gh);
        if (args.dx_output == Output::kAdd) gradient += at(dx, i);
        dx[i] = Arithmetic<T>::to(gradient);
      }
    });
  }
};

template <class T, class Runner>
void norm_rows_backward(const NormRowsBackwardArgs<T>& args, const Runner& runner) {
  using Join = JoinChunksProgram<typename NormRowsBackwardArgs<T>::Real>;
  const int64_t chunks = n_chunks(args.n_rows), stride = 2 * args.width;
  runner.template run<NormRowsBackwardProgram<T>>(args);
  runner.template run<Join>({args.scratch, args.dweight, chunks, stride, args.width});
  if (args.dbias == nullptr) return;
  runner.template run<Join>({args.scratch + args.width, args.dbias, chunks, stride, args.width});
}

}  // namespace orrery::kernels::blocks
