// libcudart.so of the simulated GPUs: launches of kernels that nvcc compiled. Its host code
// registers each kernel by the address of a stub and the mangled name, and launches by the address.
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <map>
#include <string>

#include "kernels.h"
#include "runtime.h"

namespace orrery::simulated_gpu {

namespace {

std::map<const void*, std::string>& names() {
  static auto* const all = new std::map<const void*, std::string>;
  return *all;
}

struct Configuration {
  dim3 grid, block;
  size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
};
thread_local Configuration configuration;

/// Environment SIMULATED_GPU_DRY: kernels without a program are skipped, for whoever asks only what
/// host code does (tools/compare_torch_cuda.py).
bool skips_unknown_kernels() { return std::getenv("SIMULATED_GPU_DRY") != nullptr; }

}  // namespace

extern "C" {

void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) { return 0; }
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
void __cudaRegisterFunction(void**, const char* stub, char*, const char* name, int, uint3*, uint3*,
                            dim3*, dim3*, int*) {
  names()[stub] = name;
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, void* stream) {
  configuration = {grid, block, shared_bytes, static_cast<cudaStream_t>(stream)};
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared_bytes,
                                       void* stream) {
  *grid = configuration.grid;
  *block = configuration.block;
  *shared_bytes = configuration.shared_bytes;
  *static_cast<cudaStream_t*>(stream) = configuration.stream;
  return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void* stub, dim3 grid, dim3 block, void** arguments, size_t,
                             cudaStream_t stream) {
  const auto name = names().find(stub);
  if (name == names().end()) {
    return fail(cudaErrorInvalidDeviceFunction, "a kernel that was not registered");
  }
  const Launcher* const launcher = find_kernel(name->second);
  if (launcher == nullptr) {
    if (skips_unknown_kernels()) return cudaSuccess;
    return fail(cudaErrorInvalidDeviceFunction,
                ("there is no block program for " + name->second).c_str());
  }
  bool fits = false;
  const cudaError_t error = guarded([&] {
    fits = (*launcher)({.arguments = arguments[0],
                        .n_blocks = grid.x,
                        .n_threads = block.x,
                        .stream = stream_of(stream)});
  });
  if (error != cudaSuccess) return error;
  if (!fits) return fail(cudaErrorInvalidConfiguration, "a grid that is not the program's");
  ++counters().kernels;
  return cudaSuccess;
}
// CUDA 13's stubs launch through a handle of the kernel.
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* stub) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(stub));
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments,
                               size_t shared_bytes, cudaStream_t stream) {
  return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, block, arguments,
                          shared_bytes, stream);
}

}  // extern "C"

}  // namespace orrery::simulated_gpu
