// What the tests of GPU kernels share: the same data on host and GPU, sizes that meet every tail,
// and skipping with a reason where there is no GPU. Their programs run block by block on the CPU
// too (blocks/simulated_block.h), so a machine without a GPU tests all but the compiler and the
// barriers.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "blocks/simulated_block.h"
#include "kernel_references.h"
#include "orrery/kernels/bf16.h"
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
  std::vector<double> result;
  for (const T number : numbers) result.push_back(double(Arithmetic<T>::from(number)));
  return result;
}

/// As random_numbers(), of any type that kernels store.
template <class T>
std::vector<T> random_stored(int64_t n, uint64_t stream) {
  std::vector<T> result;
  for (const auto number : random_numbers<typename Arithmetic<T>::Type>(n, stream)) {
    result.push_back(Arithmetic<T>::to(number));
  }
  return result;
}

/// For sums of a few hundred products; Bf16 has eight bits.
template <class T>
constexpr double stored_bound() {
  return sizeof(T) == 2 ? 1e-2 : bound<T>();
}

/// Where a kernel of a test runs: simulated, its threads in either order, or on a GPU.
class Place {
 public:
  explicit Place(blocks::ThreadOrder order) : runner_{order}, is_gpu_(false) {}
  static Place gpu() { return Place(); }

  /// The kernel's address of a vector.
  template <class T>
  T* of(std::vector<T>& host) {
    if (!is_gpu_) return host.data();
    auto copy = std::make_shared<OnGpu<T>>(host);
    fetch_.push_back([copy, &host] { host = copy->host(); });
    return copy->get();
  }

  /// Runs on_gpu(), or simulated(runner), and puts what memory holds then into the vectors.
  template <class OnGpuWork, class Simulated>
  void run(const OnGpuWork& on_gpu, const Simulated& simulated) {
    if (!is_gpu_) return simulated(runner_);
    on_gpu();
    for (const auto& fetch : fetch_) fetch();
    fetch_.clear();
  }

 private:
  Place() : runner_{blocks::ThreadOrder::kForward}, is_gpu_(true) {}

  blocks::InOrder runner_;
  bool is_gpu_;
  std::vector<std::function<void()>> fetch_;
};

/// Two tests of compare(place): on the simulation, and on a GPU where there is one.
#define ORRERY_COMPARE_KERNEL(Name, compare)                                     \
  TEST(Name##Blocks, GiveWhatTheDefinitionGives) {                               \
    for (const blocks::ThreadOrder order : kThreadOrders) compare(Place(order)); \
  }                                                                              \
  TEST(Name##Cuda, GivesWhatTheDefinitionGives) {                                \
    ORRERY_NEEDS_GPU();                                                          \
    compare(Place::gpu());                                                       \
  }

}  // namespace orrery::kernels
