// The simulation itself: it runs every thread of every block, and it shows what it is there to
// show.
#include "blocks/simulated_block.h"

#include <gtest/gtest.h>

#include <vector>

namespace orrery::kernels::blocks {
namespace {

struct Output {
  int64_t n_blocks = 0;
  int* out = nullptr;  // [n_blocks, kThreads]
};

/// Each thread takes its neighbour's number; correct only if all have written theirs before.
template <bool has_barrier>
struct ShiftProgram {
  using Args = Output;
  static constexpr int kThreads = 8;
  struct Shared {
    int numbers[kThreads];
  };
  static int64_t n_blocks(const Args& args) { return args.n_blocks; }

  template <class Block>
  static void run(Block& block, const Args& args, Shared& shared) {
    const auto write = [&](int thread) { shared.numbers[thread] = thread * thread; };
    const auto read = [&](int thread) {
      args.out[block.index() * kThreads + thread] = shared.numbers[(thread + 1) % kThreads];
    };
    if (has_barrier) {
      block.each(write);
      block.each(read);
    } else {
      block.each([&](int thread) {
        write(thread);
        read(thread);
      });
    }
  }
};

/// Every thread says what all their numbers come to.
struct ReduceProgram {
  using Args = Output;
  static constexpr int kThreads = 32;
  struct Shared {
    int numbers[kThreads];
  };
  static int64_t n_blocks(const Args& args) { return args.n_blocks; }

  template <class Block>
  static void run(Block& block, const Args& args, Shared& shared) {
    typename Block::template PerThread<int> own;
    block.each([&](int thread) { own[thread] = thread; });
    const int sum = reduce(block, own, shared.numbers, Sum<int>());
    const int best = reduce(block, own, shared.numbers, Max<int>());
    block.each([&](int thread) { args.out[thread] = sum * 100 + best; });
  }
};

template <class Program>
std::vector<int> result(int64_t n_blocks, ThreadOrder order) {
  std::vector<int> out(size_t(n_blocks * Program::kThreads), -1);
  simulate<Program>({.n_blocks = n_blocks, .out = out.data()}, order);
  return out;
}

TEST(SimulatedBlock, RunsEveryThreadOfEveryBlockInBothOrders) {
  const std::vector<int> one{1, 4, 9, 16, 25, 36, 49, 0};
  std::vector<int> three;
  for (int i = 0; i < 3; ++i) three.insert(three.end(), one.begin(), one.end());
  for (const auto order : {ThreadOrder::kForward, ThreadOrder::kBackward}) {
    EXPECT_EQ(result<ShiftProgram<true>>(3, order), three);
    EXPECT_TRUE(result<ShiftProgram<true>>(0, order).empty());
  }
}

TEST(SimulatedBlock, ShowsAMissingBarrier) {
  EXPECT_NE(result<ShiftProgram<false>>(1, ThreadOrder::kForward),
            result<ShiftProgram<false>>(1, ThreadOrder::kBackward));
}

TEST(SimulatedBlock, ReducesToTheSameNumberForAllThreads) {
  EXPECT_EQ(result<ReduceProgram>(1, ThreadOrder::kBackward), std::vector<int>(32, 49600 + 31));
}

}  // namespace
}  // namespace orrery::kernels::blocks
