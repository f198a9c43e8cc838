#pragma once

#include "blocks/row_parts.h"
#include "orrery/kernels/indexed_rows.h"

namespace orrery::kernels::blocks {

template <class T>
struct TakeRowsProgram {
  using Args = TakeRowsArgs<T>;
  using Number = Arithmetic<T>;
  static constexpr int kThreads = 256;
  struct Shared {};

  static int64_t n_blocks(const Args& args) { return args.n_rows * parts_of_row(args.width); }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared&) {
    const RowPart part = row_part(block.index(), args.width);
    const int64_t row = args.rows[part.row];
    const T* const from = args.x + row * args.width;
    T* const to = args.out + part.row * args.width;
    block.each([&](int thread) {
      for (int64_t i = part.begin + thread; i < part.end; i += kThreads) {
        if (args.output == Output::kOverwrite) {
          to[i] = row < 0 ? Number::to(0) : from[i];
        } else if (row >= 0) {
          to[i] = Number::to(Number::from(to[i]) + Number::from(from[i]));
        }
      }
    });
  }
};

template <class T>
struct PutRowsProgram {
  using Args = PutRowsArgs<T>;
  static constexpr int kThreads = 256;
  struct Shared {};

  static int64_t n_blocks(const Args& args) { return args.n_rows * parts_of_row(args.width); }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared&) {
    const RowPart part = row_part(block.index(), args.width);
    const T* const from = args.x + part.row * args.width;
    T* const to = args.out + args.rows[part.row] * args.width;
    block.each([&](int thread) {
      for (int64_t i = part.begin + thread; i < part.end; i += kThreads) to[i] = from[i];
    });
  }
};

/// A part of a target's row a block, so that no two threads add to one number.
template <class T, class G>
struct AddRowsProgram {
  using Args = AddRowsArgs<T, G>;
  using Sum = typename Arithmetic<G>::Type;
  static constexpr int kThreads = 256;
  struct Shared {};

  static int64_t n_blocks(const Args& args) { return args.n_segments * parts_of_row(args.width); }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared&) {
    const RowPart part = row_part(block.index(), args.width);
    G* const to = args.out + args.targets[part.row] * args.width;
    const int64_t begin = args.starts[part.row], end = args.starts[part.row + 1];
    block.each([&](int thread) {
      for (int64_t i = part.begin + thread; i < part.end; i += kThreads) {
        Sum sum = Arithmetic<G>::from(to[i]);
        for (int64_t k = begin; k < end; ++k) {
          const int64_t row = args.order[k];
          const Sum scale = args.scales == nullptr ? Sum(1) : args.scales[args.places[row]];
          sum += scale * Arithmetic<T>::from(args.x[row * args.width + i]);
        }
        to[i] = Arithmetic<G>::to(sum);
      }
    });
  }
};

}  // namespace orrery::kernels::blocks
