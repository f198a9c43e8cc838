// Runs a program (block.h) on the CPU: the same indices, the same shared memory, the same barriers.
// Memory starts as garbage, and threads can run in either order between barriers, and blocks in
// either order: a result that depends on the order shows a missing barrier, or blocks that race.
#pragma once

#include <cstring>  // memset
#include <memory>

#include "blocks/block.h"
#include "orrery/kernels/bf16.h"

namespace orrery::kernels::blocks {

enum class ThreadOrder { kForward, kBackward };

template <int n_threads>
class SimulatedBlock {
 public:
  static constexpr int kThreads = n_threads;

  template <class T>
  class PerThread {
   public:
    PerThread() { std::memset(static_cast<void*>(values_), 0xCD, sizeof values_); }
    T& operator[](int thread) { return values_[thread]; }

   private:
    T values_[n_threads];
  };

  SimulatedBlock(int64_t index, ThreadOrder order) : index_(index), order_(order) {}

  int64_t index() const { return index_; }

  template <class Work>
  void each(const Work& work) {
    for (int i = 0; i < n_threads; ++i) {
      work(order_ == ThreadOrder::kForward ? i : n_threads - 1 - i);
    }
  }

  template <class Work>
  void each_apart(const Work& work) {
    each(work);
  }

  template <class Of>
  void mma(const Of& of) {
    for (int first = 0; first < n_threads; first += kWarp) mma_of_warp(of, first);
  }

  template <class T>
  T uniform(const T& value) {
    return value;
  }

  bool is_last_of(int32_t* counter, int count) {
    *counter = (*counter + 1) % count;
    return *counter == 0;
  }

 private:
  static float half(uint32_t pair, int which) {
    return to_float({static_cast<uint16_t>(which == 0 ? pair : pair >> 16U)});
  }

  /// Sums go from the first of 16 products to the last; tensor cores do not say in which order.
  template <class Of>
  static void mma_of_warp(const Of& of, int first) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < kWarp; ++lane) {
      const Fragments own = of(first + lane);
      const int g = lane / 4, q = lane % 4;
      for (int i = 0; i < 8; ++i) {
        a[g + i / 2 % 2 * 8][2 * q + i / 4 * 8 + i % 2] = half(own.a[i / 2], i % 2);
        if (i < 4) b[2 * q + i / 2 * 8 + i % 2][g] = half(own.b[i / 2], i % 2);
      }
    }
    for (int lane = 0; lane < kWarp; ++lane) {
      const Fragments own = of(first + lane);
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; ++k) own.c[i] += a[row][k] * b[k][column];
      }
    }
  }

  int64_t index_;
  ThreadOrder order_;
};

template <class Program>
void simulate(const typename Program::Args& args, ThreadOrder order = ThreadOrder::kForward) {
  const auto shared = std::make_unique<typename Program::Shared>();
  const int64_t n_blocks = Program::n_blocks(args);
  for (int64_t i = 0; i < n_blocks; ++i) {
    const int64_t index = order == ThreadOrder::kForward ? i : n_blocks - 1 - i;
    std::memset(static_cast<void*>(shared.get()), 0xCD, sizeof(typename Program::Shared));
    SimulatedBlock<Program::kThreads> block(index, order);
    Program::run(block, args, *shared);
  }
}

/// As OnStream (gpu_block.h).
struct InOrder {
  ThreadOrder order;

  template <class Program>
  void run(const typename Program::Args& args) const {
    simulate<Program>(args, order);
  }
};

}  // namespace orrery::kernels::blocks
