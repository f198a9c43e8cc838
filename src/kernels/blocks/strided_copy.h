// The packed buffer is cut into tiles of kThreads * kPerThread elements, one block each, whatever
// the sizes of the copies: blocks are equally busy whether there is one large copy or thousands of
// small ones. A block finds the first and the last copy of its tile by bisection; each element then
// bisects between those two, which mostly are one and the same.
#pragma once

#include "blocks/block.h"
#include "orrery/kernels/strided_copy.h"

namespace orrery::kernels::blocks {

/// The copy that holds packed element i: the last c in [low, high] with first[c] <= i. Copies
/// without elements are passed over.
ORRERY_BLOCK int64_t copy_with(const int64_t* first, int64_t low, int64_t high, int64_t i) {
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    if (first[middle] <= i) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

struct TileOfCopies {
  static constexpr int kThreads = 256, kPerThread = 8;
  static constexpr int64_t kElements = kThreads * kPerThread;
  struct Shared {
    int64_t low, high;  // copies of the tile
  };

  /// Calls visit(copy, row, column, i) for each packed element i of the block's tile, neighbours in
  /// neighbouring threads.
  template <class Block, class Visit>
  ORRERY_BLOCK static void run(Block& block, const StridedCopy* copies, const int64_t* first,
                               int64_t n_copies, int64_t numel, Shared& shared,
                               const Visit& visit) {
    const int64_t begin = block.index() * kElements;
    const int64_t end = smaller_of(begin + kElements, numel);
    block.each([&](int thread) {
      if (thread == 0) shared.low = copy_with(first, 0, n_copies - 1, begin);
      if (thread == 1) shared.high = copy_with(first, 0, n_copies - 1, end - 1);
    });
    block.each([&](int thread) {
      for (int64_t i = begin + thread; i < end; i += kThreads) {
        const int64_t c = copy_with(first, shared.low, shared.high, i);
        const StridedCopy& copy = copies[c];
        const int64_t at = i - first[c], row = at / copy.length;
        visit(copy, row, at - row * copy.length, i);
      }
    });
  }
};

template <class Source, class Wire>
struct PackProgram {
  using Args = PackArgs<Source, Wire>;
  using Shared = TileOfCopies::Shared;
  static constexpr int kThreads = TileOfCopies::kThreads;

  static int64_t n_blocks(const Args& args) {
    return ceil_div(args.numel, TileOfCopies::kElements);
  }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    TileOfCopies::run(block, args.copies, args.first, args.n_copies, args.numel, shared,
                      [&](const StridedCopy& copy, int64_t row, int64_t column, int64_t i) {
                        args.packed[i] = converted<Source, Wire>(
                            args.source[copy.source_offset + row * copy.source_stride + column]);
                      });
  }
};

template <class Wire, class Destination>
struct UnpackProgram {
  using Args = UnpackArgs<Wire, Destination>;
  using Shared = TileOfCopies::Shared;
  static constexpr int kThreads = TileOfCopies::kThreads;

  static int64_t n_blocks(const Args& args) {
    return ceil_div(args.numel, TileOfCopies::kElements);
  }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    using A = Arithmetic<Destination>;
    const bool overwrite = args.eta == 1;
    const auto eta = static_cast<typename A::Type>(args.eta);
    TileOfCopies::run(
        block, args.copies, args.first, args.n_copies, args.numel, shared,
        [&](const StridedCopy& copy, int64_t row, int64_t column, int64_t i) {
          Destination& to =
              args.destination[copy.destination_offset + row * copy.destination_stride + column];
          const Destination wanted = converted<Wire, Destination>(args.packed[i]);
          to = overwrite ? wanted : A::to(mixed(A::from(to), A::from(wanted), eta));
        });
  }
};

}  // namespace orrery::kernels::blocks
