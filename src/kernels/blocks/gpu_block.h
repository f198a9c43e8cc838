// Runs a program (block.h) on the GPU, one block per thread block. Only for .cu files.
#pragma once

#include <cuda_runtime.h>

#include <type_traits>  // void_t

#include "blocks/block.h"
#include "cuda_check.h"
#include "orrery/base/error.h"

namespace orrery::kernels::blocks {

template <int n_threads>
class GpuBlock {
 public:
  static constexpr int kThreads = n_threads;

  template <class T>
  class PerThread {
   public:
    __device__ T& operator[](int) { return value_; }

   private:
    T value_;
  };

  __device__ int64_t index() const { return blockIdx.x; }

  template <class Work>
  __device__ __forceinline__ void each(const Work& work) {
    work(static_cast<int>(threadIdx.x));
    __syncthreads();
  }

  template <class Work>
  __device__ __forceinline__ void each_apart(const Work& work) {
    work(static_cast<int>(threadIdx.x));
    __syncwarp();  // for mma, which a warp does together
  }

  template <class Of>
  __device__ __forceinline__ void mma(const Of& of) {
#if __CUDA_ARCH__ >= 800
    const Fragments own = of(static_cast<int>(threadIdx.x));
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(own.c[0]), "+f"(own.c[1]), "+f"(own.c[2]), "+f"(own.c[3])
        : "r"(own.a[0]), "r"(own.a[1]), "r"(own.a[2]), "r"(own.a[3]), "r"(own.b[0]), "r"(own.b[1]));
#else
    static_cast<void>(of);
    __trap();  // nobody launches it there
#endif
  }

  /// Reads, then waits: nobody may write the value again before all have it.
  template <class T>
  __device__ __forceinline__ T uniform(const T& value) {
    const T copy = value;
    __syncthreads();
    return copy;
  }

  /// Of `count` blocks that come here with this counter, which is 0 before and after: whether this
  /// one is the last. It sees what the others wrote before they came.
  __device__ bool is_last_of(int32_t* counter, int count) {
    __shared__ bool is_last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {  // back to 0 behind count - 1
      const unsigned most = static_cast<unsigned>(count) - 1;
      is_last = atomicInc(reinterpret_cast<unsigned*>(counter), most) == most;
    }
    __syncthreads();
    if (is_last) __threadfence();
    return is_last;
  }
};

/// Program::kResident: blocks that a multiprocessor is to have room for, by giving threads fewer
/// registers. Without one that is nvcc's choice.
template <class Program, class = void>
inline constexpr int kResidentBlocks = 0;
template <class Program>
inline constexpr int kResidentBlocks<Program, std::void_t<decltype(Program::kResident)>> =
    Program::kResident;

template <class Program>
__global__ void __launch_bounds__(Program::kThreads, kResidentBlocks<Program>)
    run_program(typename Program::Args args) {
  __shared__ typename Program::Shared shared;
  GpuBlock<Program::kThreads> block;
  Program::run(block, args, shared);
}

/// Asynchronous on `stream`. Throws CallError when it could not be launched.
template <class Program>
void launch(const typename Program::Args& args, cudaStream_t stream) {
  const int64_t n_blocks = Program::n_blocks(args);
  if (n_blocks == 0) return;  // a grid of none is an error to CUDA
  if (n_blocks > 0x7fffffff) {
    throw ShapeError(
        "a launch of a kernel",
        ErrorDetail{"at most 2147483647 blocks", std::to_string(n_blocks), "split the batch"});
  }
  run_program<Program><<<static_cast<unsigned>(n_blocks), Program::kThreads, 0, stream>>>(args);
  ORRERY_CUDA(cudaGetLastError());
}

/// Runs programs one after another, for kernels of several.
struct OnStream {
  cudaStream_t stream;

  template <class Program>
  void run(const typename Program::Args& args) const {
    launch<Program>(args, stream);
  }
};

}  // namespace orrery::kernels::blocks
