// libtorch_cuda.so of the simulated GPUs: what LibTorch's own registers when it is loaded, the
// device without its operators. Allocator, streams and guards are LibTorch's (libc10_cuda.so), over
// the simulated runtime.
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>

#include <cstring>

#include "memory.h"

namespace c10::cuda::_internal {
// Not in a header: libtorch_cuda.so tells libc10_cuda.so.
C10_CUDA_API void setHasPrimaryContext(bool (*)(c10::DeviceIndex));
}  // namespace c10::cuda::_internal

namespace orrery::simulated_gpu {

namespace {

struct PinnedAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t size_bytes) override {
    void* memory = nullptr;
    C10_CUDA_CHECK(cudaHostAlloc(&memory, size_bytes == 0 ? 1 : size_bytes, 0));
    return {memory, memory, &release, c10::Device(c10::kCPU)};
  }
  /// As LibTorch's, which waits for nothing: copies keep the tensors that they read or write.
  static void release(void* memory) { release_pinned(memory); }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t size_bytes) const override {
    std::memcpy(to, from, size_bytes);
  }
};

struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return deviceCount() > 0; }
  bool hasCUDA() const override { return deviceCount() > 0; }
  c10::DeviceIndex deviceCount() const override { return c10::cuda::device_count(); }
  c10::DeviceIndex getCurrentDevice() const override { return c10::cuda::current_device(); }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  bool isPinnedPtr(const void* address) const override { return is_pinned(address); }
  c10::Allocator* getPinnedMemoryAllocator() const override {
    static PinnedAllocator allocator;
    return &allocator;
  }
};

const bool is_set_up = [] {
  c10::cuda::_internal::setHasPrimaryContext([](c10::DeviceIndex) { return true; });
  c10::cuda::CUDACachingAllocator::init(c10::cuda::device_count());
  return true;
}();

}  // namespace

}  // namespace orrery::simulated_gpu

namespace at {
using SimulatedHooks = orrery::simulated_gpu::Hooks;
C10_REGISTER_CREATOR(CUDAHooksRegistry, CUDAHooks, [](CUDAHooksArgs arguments) {
  return std::unique_ptr<CUDAHooksInterface>(new SimulatedHooks(arguments));
})
}  // namespace at
