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

constexpr int kRows = 16, kColumns = 8, kInner = 16, kWarps = 2;

struct Product {
  const float *a = nullptr, *b = nullptr;  // [warps, rows, inner], [warps, inner, columns]
  float* c = nullptr;                      // [warps, rows, columns], added to
};

/// Loads and stores fragments by the formulas in PTX's description of mma.m16n8k16.
struct ProductProgram {
  using Args = Product;
  static constexpr int kThreads = kWarps * kWarp;
  struct Shared {};
  struct Registers {
    uint32_t a[4] = {}, b[2] = {};
    float c[4] = {};
  };
  static int64_t n_blocks(const Args&) { return 1; }

  static int row_of_a(int lane, int i) {
    const int group = lane >> 2;
    return (0 <= i && i < 2) || (4 <= i && i < 6) ? group : group + 8;
  }
  static int column_of_a(int lane, int i) {
    const int column = lane % 4 * 2 + (i & 1);
    return i < 4 ? column : column + 8;
  }
  static int row_of_b(int lane, int i) {
    const int row = lane % 4 * 2 + (i & 1);
    return i < 2 ? row : row + 8;
  }
  static int place_of_c(int thread, int i) {
    const int lane = thread % kWarp, row = i < 2 ? lane >> 2 : (lane >> 2) + 8;
    return (thread / kWarp * kRows + row) * kColumns + lane % 4 * 2 + (i & 1);
  }
  static void put(uint32_t* registers, int i, float x) {
    registers[i / 2] |= uint32_t{to_bf16(x).bits} << (i % 2 * 16);
  }

  template <class Block>
  static void run(Block& block, const Args& args, Shared&) {
    typename Block::template PerThread<Registers> registers;
    block.each_apart([&](int thread) {
      const int warp = thread / kWarp, lane = thread % kWarp;
      Registers own;
      for (int i = 0; i < 8; ++i) {
        const int row = warp * kRows + row_of_a(lane, i);
        put(own.a, i, args.a[row * kInner + column_of_a(lane, i)]);
        if (i >= 4) continue;
        const int inner = warp * kInner + row_of_b(lane, i);
        put(own.b, i, args.b[inner * kColumns + (lane >> 2)]);
        own.c[i] = args.c[place_of_c(thread, i)];
      }
      registers[thread] = own;
    });
    block.mma([&](int thread) {
      Registers& own = registers[thread];
      return Fragments{own.a, own.b, own.c};
    });
    block.each([&](int thread) {
      for (int i = 0; i < 4; ++i) args.c[place_of_c(thread, i)] = registers[thread].c[i];
    });
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

TEST(SimulatedBlock, MultipliesFragmentsAsTensorCoresDo) {
  std::vector<float> a(kWarps * kRows * kInner), b(kWarps * kInner * kColumns);
  for (size_t i = 0; i < a.size(); ++i) a[i] = float(int(i * 7 % 31) - 15);
  for (size_t i = 0; i < b.size(); ++i) b[i] = float(int(i * 5 % 23) - 11);
  std::vector<float> c(kWarps * kRows * kColumns), expected(c.size());
  for (size_t i = 0; i < c.size(); ++i) {
    const size_t row = i / kColumns, first = row / kRows * kInner;
    expected[i] = c[i] = float(i);
    for (size_t k = 0; k < kInner; ++k) {
      expected[i] += a[row * kInner + k] * b[(first + k) * kColumns + i % kColumns];
    }
  }
  simulate<ProductProgram>({.a = a.data(), .b = b.data(), .c = c.data()});
  EXPECT_EQ(c, expected) << "all numbers are small integers";
}

}  // namespace
}  // namespace orrery::kernels::blocks
