// A block sums its chunk of rows, each thread some of the columns; then the chunks are summed in
// their order. Other kernels that sum over rows write chunks of their own and join them likewise.
#pragma once

#include "blocks/block.h"
#include "orrery/kernels/column_sums.h"

namespace orrery::kernels::blocks {

template <class T>
struct ColumnSumsProgram {
  using Args = ColumnSumsArgs<T>;
  using Sum = typename Args::Sum;
  static constexpr int kThreads = 256;
  struct Shared {};

  static int64_t n_blocks(const Args& args) { return n_chunks(args.n_rows); }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared&) {
    const int64_t begin = block.index() * rows_per_chunk(args.n_rows);
    const int64_t end = smaller_of(begin + rows_per_chunk(args.n_rows), args.n_rows);
    Sum* const sums = args.scratch + block.index() * args.width;
    block.each([&](int thread) {
      for (int64_t i = thread; i < args.width; i += kThreads) {
        Sum sum = 0;
        for (int64_t row = begin; row < end; ++row) {
          sum += Arithmetic<T>::from(args.rows[row * args.width + i]);
        }
        sums[i] = sum;
      }
    });
  }
};

template <class Sum>
struct JoinChunksArgs {
  const Sum* chunks = nullptr;  // [n_chunks] rows chunk_stride apart, of which `width` are summed
  Sum* sums = nullptr;          // [width], added to
  int64_t n_chunks = 0, chunk_stride = 0, width = 0;
};

template <class Sum>
struct JoinChunksProgram {
  using Args = JoinChunksArgs<Sum>;
  static constexpr int kThreads = 64;  // few columns a block: more blocks read
  struct Shared {};

  static int64_t n_blocks(const Args& args) {
    return args.n_chunks == 0 ? 0 : ceil_div(args.width, kThreads);
  }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared&) {
    block.each([&](int thread) {
      const int64_t i = block.index() * kThreads + thread;
      if (i >= args.width) return;
      Sum sum = 0;
      for (int64_t chunk = 0; chunk < args.n_chunks; ++chunk) {
        sum += args.chunks[chunk * args.chunk_stride + i];
      }
      args.sums[i] += sum;
    });
  }
};

/// `runner` has run<Program>(args): on a GPU's stream, or simulated.
template <class T, class Runner>
void add_column_sums(const ColumnSumsArgs<T>& args, const Runner& runner) {
  using Sum = typename ColumnSumsArgs<T>::Sum;
  runner.template run<ColumnSumsProgram<T>>(args);
  runner.template run<JoinChunksProgram<Sum>>(
      {args.scratch, args.sums, n_chunks(args.n_rows), args.width, args.width});
}

}  // namespace orrery::kernels::blocks
