// A kernel is written once as the work of a thread block, and runs on a GPU or, block after block
// and thread after thread, on the CPU, where tests compare it with its reference. A program is
//
//   struct Program {
//     using Args = ...;                      plain pointers and numbers
//     static constexpr int kThreads = ...;   a power of two
//     static constexpr int kResident = ...;  may be left out: see gpu_block.h
//     struct Shared { ... };                 memory of the block; no constructors
//     static int64_t n_blocks(const Args&);  0: nothing to do
//     template <class Block>
//     static void run(Block& block, const Args& args, Shared& shared);
//   };
//
// run() is the same for all threads except inside block.each([&](int thread) {...}), which ends
// with a barrier. What differs between threads and lives longer is a PerThread. A branch or loop
// outside each() may depend on `args`, on block.index(), on block.uniform(x) of shared memory x and
// on block.is_last_of(), nothing else: then every thread takes it. C++17: nvcc compiles it.
//
// Between two each() there may be each_apart(), after which a thread knows of nothing that another
// wrote, and block.mma(of): each warp multiplies on its tensor cores what of(thread) names.
#pragma once

#include <cstdint>

/// Before what a block runs: for the GPU under nvcc, for the simulation under any other compiler.
#if defined(__CUDACC__)
#define ORRERY_BLOCK __device__ __forceinline__
#else
#define ORRERY_BLOCK inline
#endif

/// Before a loop of few, known rounds: what it indexes stays in registers.
#if defined(__CUDACC__)
#define ORRERY_UNROLL _Pragma("unroll")
#else
#define ORRERY_UNROLL
#endif

namespace orrery::kernels::blocks {

template <class T>
struct Sum {
  ORRERY_BLOCK T operator()(T a, T b) const { return a + b; }
};
template <class T>
struct Max {
  ORRERY_BLOCK T operator()(T a, T b) const { return a < b ? b : a; }
};

/// shared[0] = shared[0] op ... op shared[kThreads - 1], always in the same tree. All threads have
/// written their element in an each() before; all may read shared[0] after.
template <class Block, class T, class Op>
ORRERY_BLOCK void reduce_tree(Block& block, T* shared, Op op) {
  for (int half = Block::kThreads / 2; half > 0; half /= 2) {
    block.each([&](int thread) {
      if (thread < half) shared[thread] = op(shared[thread], shared[thread + half]);
    });
  }
}

/// One value from one of each thread, for all of them. `shared` may be used again at once.
template <class Block, class T, class Op>
ORRERY_BLOCK T reduce(Block& block, typename Block::template PerThread<T>& values, T* shared,
                      Op op) {
  block.each([&](int thread) { shared[thread] = values[thread]; });
  reduce_tree(block, shared, op);
  return block.uniform(shared[0]);
}

/// A thread's part of c += a b of its warp, a [16, 16] and b [16, 8] of bf16, c [16, 8] of float:
/// the fragments of PTX's mma.m16n8k16. Of thread 4 g + q of a warp, (row, column):
///   a[0], a[1]  (g, 2 q) and (g + 8, 2 q), each with the next column in the upper half
///   a[2], a[3]  (g, 2 q + 8) and (g + 8, 2 q + 8), likewise
///   b[0], b[1]  (2 q, g) and (2 q + 8, g), each with the next row in the upper half
///   c[0..3]     (g, 2 q), (g, 2 q + 1), (g + 8, 2 q), (g + 8, 2 q + 1)
struct Fragments {
  const uint32_t* a;
  const uint32_t* b;
  float* c;
};
inline constexpr int kWarp = 32;

constexpr int64_t smaller_of(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t larger_of(int64_t a, int64_t b) { return a < b ? b : a; }
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace orrery::kernels::blocks
