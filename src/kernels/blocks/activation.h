#pragma once

#include "blocks/row_parts.h"
#include "orrery/kernels/activation.h"

namespace orrery::kernels::blocks {

template <class T>
struct ActivateProgram {
  using Args = ActivateArgs<T>;
  using Number = Arithmetic<T>;
  static constexpr int kThreads = 256;
  struct Shared {};

  static int64_t n_blocks(const Args& args) { return args.n_rows * parts_of_row(args.width); }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared&) {
    const RowPart part = row_part(block.index(), args.width);
    const T* const up = args.up + part.row * args.width * (args.is_gated ? 2 : 1);
    T* const out = args.out + part.row * args.width;
    block.each([&](int thread) {
      for (int64_t i = part.begin + thread; i < part.end; i += kThreads) {
        auto value = activation(args.function, Number::from(up[i])).value;
        if (args.is_gated) value *= Number::from(up[args.width + i]);
        out[i] = Number::to(value);
      }
    });
  }
};

template <class T>
struct ActivateBackwardProgram {
  using Args = ActivateBackwardArgs<T>;
  using Number = Arithmetic<T>;
  static constexpr int kThreads = 256;
  struct Shared {};

  static int64_t n_blocks(const Args& args) { return args.n_rows * parts_of_row(args.width); }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared&) {
    const RowPart part = row_part(block.index(), args.width);
    const int64_t first = part.row * args.width, first_up = first * (args.is_gated ? 2 : 1);
    const T* const up = args.up + first_up;
    T* const dup = args.dup + first_up;
    block.each([&](int thread) {
      for (int64_t i = part.begin + thread; i < part.end; i += kThreads) {
        const auto of = activation(args.function, Number::from(up[i]));
        const auto d = Number::from(args.dout[first + i]);
        const auto factor = args.is_gated ? Number::from(up[args.width + i]) : decltype(d)(1);
        dup[i] = Number::to(d * factor * of.slope);
        if (args.is_gated) dup[args.width + i] = Number::to(d * of.value);
        args.out[first + i] = Number::to(of.value * factor);
      }
    });
  }
};

}  // namespace orrery::kernels::blocks
