// Memory and errors of the CUDA runtime. No kernel, so no limit to speak of.
#include <cctype>

#include "cuda_check.h"
#include "orrery/base/error.h"
#include "orrery/kernels/gpu.h"

namespace orrery::kernels {

void throw_cuda_error(cudaError_t error, const char* call, const char* file, int line) {
  cudaGetLastError();  // not left behind for the check of a later call to find
  throw CallError(
      std::string("CUDA failed in ") + file + ":" + std::to_string(line) + ": " + call,
      ErrorDetail{"cudaSuccess", cudaGetErrorString(error),
                  "an earlier kernel may be at fault: run again with CUDA_LAUNCH_BLOCKING=1"});
}

namespace {

/// The runtime's answer to "how many"; its error is not left behind for a later check to find.
cudaError_t count_gpus(int* count) {
  *count = 0;
  const cudaError_t error = cudaGetDeviceCount(count);
  if (error != cudaSuccess) {
    cudaGetLastError();
    *count = 0;
  }
  return error;
}

}  // namespace

int gpu_count() {
  int count = 0;
  count_gpus(&count);
  return count;
}

std::string why_no_gpu() {
  int count = 0;
  const cudaError_t error = count_gpus(&count);
  if (error != cudaSuccess) return std::string("no GPU found: ") + cudaGetErrorString(error);
  return count == 0 ? "no GPU found" : "";
}

std::string gpu_pci_id(int device) {
  char id[32] = "";
  ORRERY_CUDA(cudaDeviceGetPCIBusId(id, sizeof(id), device));
  for (char& letter : id) letter = static_cast<char>(std::tolower(letter));  // as in sysfs
  return id;
}

int64_t gpu_memory_bytes(int device) {
  cudaDeviceProp properties;
  ORRERY_CUDA(cudaGetDeviceProperties(&properties, device));
  return static_cast<int64_t>(properties.totalGlobalMem);
}

int gpu_compute_capability(int device) {
  int major = 0, minor = 0;
  ORRERY_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  ORRERY_CUDA(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  return 10 * major + minor;
}

CudaVersions cuda_versions() {
  CudaVersions versions;
  cudaDriverGetVersion(&versions.driver);
  cudaRuntimeGetVersion(&versions.runtime);
  return versions;
}

void use_gpu(int device) { ORRERY_CUDA(cudaSetDevice(device)); }

void* allocate_on_gpu(std::size_t size_bytes) {
  void* memory = nullptr;
  if (size_bytes > 0) ORRERY_CUDA(cudaMalloc(&memory, size_bytes));
  return memory;
}

void free_on_gpu(void* memory) noexcept { cudaFree(memory); }

void copy_to_gpu(void* gpu, const void* host, std::size_t size_bytes) {
  if (size_bytes == 0) return;
  ORRERY_CUDA(cudaMemcpy(gpu, host, size_bytes, cudaMemcpyHostToDevice));
}

void copy_from_gpu(void* host, const void* gpu, std::size_t size_bytes) {
  if (size_bytes == 0) return;
  ORRERY_CUDA(cudaMemcpy(host, gpu, size_bytes, cudaMemcpyDeviceToHost));
}

void* allocate_pinned(std::size_t size_bytes) {
  void* memory = nullptr;
  const cudaError_t error = cudaHostAlloc(&memory, size_bytes, cudaHostAllocDefault);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  ORRERY_CUDA(error);
  return memory;
}

void free_pinned(void* memory) noexcept { cudaFreeHost(memory); }

void enqueue_copy_to_gpu(void* gpu, const void* pinned, std::size_t size_bytes,
                         cudaStream_t stream) {
  ORRERY_CUDA(cudaMemcpyAsync(gpu, pinned, size_bytes, cudaMemcpyHostToDevice, stream));
}

void enqueue_copy_from_gpu(void* pinned, const void* gpu, std::size_t size_bytes,
                           cudaStream_t stream) {
  ORRERY_CUDA(cudaMemcpyAsync(pinned, gpu, size_bytes, cudaMemcpyDeviceToHost, stream));
}

std::string why_gpu_is_lost() {
  // A context that broke answers every call with what broke it.
  const cudaError_t state = cudaStreamQuery(nullptr);
  cudaGetLastError();              // not left behind for the check of a later call to find
  constexpr int kContained = 226;  // cudaErrorContained, which CUDA 12.4 has no name for
  switch (static_cast<int>(state)) {
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchFailure:
    case cudaErrorExternalDevice:
    case kContained:
    case cudaErrorDevicesUnavailable:
    case cudaErrorNoDevice:
    case cudaErrorUnknown:
      return std::string(cudaGetErrorName(state)) + ": " + cudaGetErrorString(state);
    default:
      return {};
  }
}

void wait_for_gpu() { ORRERY_CUDA(cudaDeviceSynchronize()); }

}  // namespace orrery::kernels
