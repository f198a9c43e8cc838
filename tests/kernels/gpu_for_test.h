// What the tests of GPU kernels share: the same data on host and GPU, sizes that meet every tail,
// and skipping with a reason where there is no GPU. Their programs run block by block on the CPU
// too (blocks/simulated_block.h), so a machine without a GPU tests all but the compiler and the
// barriers.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include "blocks/simulated_block.h"
#include "orrery/kernels/gpu.h"

namespace orrery::kernels {

/// Empty, one, around a warp, and a prime beyond several blocks.
inline const std::vector<int64_t> kGpuSizes = {0, 1, 31, 32, 33, 10007};

inline const std::vector<blocks::ThreadOrder> kThreadOrders = {blocks::ThreadOrder::kForward,
                                                               blocks::ThreadOrder::kBackward};

/// In front of a test that needs a GPU.
#define ORRERY_NEEDS_GPU()                                                                \
  if (::orrery::kernels::gpu_count() == 0) {                                              \
    std::cerr << "NOT RUN ON A GPU: " << ::orrery::kernels::why_no_gpu() << "\n";         \
    GTEST_SKIP() << "nothing was compared on a GPU: " << ::orrery::kernels::why_no_gpu(); \
  }                                                                                       \
  ::orrery::kernels::use_gpu(0)

/// A vector's copy on the GPU.
template <class T>
class OnGpu {
 public:
  explicit OnGpu(const std::vector<T>& host)
      : size_(host.size()), memory_(allocate_on_gpu(host.size() * sizeof(T))) {
    copy_to_gpu(memory_, host.data(), size_ * sizeof(T));
  }
  ~OnGpu() { free_on_gpu(memory_); }
  OnGpu(const OnGpu&) = delete;
  OnGpu& operator=(const OnGpu&) = delete;

  T* get() const { return static_cast<T*>(memory_); }
  /// After all work on the GPU.
  std::vector<T> host() const {
    wait_for_gpu();
    std::vector<T> result(size_);
    copy_from_gpu(result.data(), memory_, size_ * sizeof(T));
    return result;
  }

 private:
  size_t size_;
  void* memory_;
};

template <class T>
std::vector<double> as_doubles(const std::vector<T>& numbers) {
  return std::vector<double>(numbers.begin(), numbers.end());
}

}  // namespace orrery::kernels
