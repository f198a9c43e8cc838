// libcudart.so of the simulated GPUs: devices, errors, versions, and what is there by name only.
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "memory.h"
#include "runtime.h"

namespace orrery::simulated_gpu {

namespace {

thread_local cudaError_t last_error = cudaSuccess;
thread_local int device_of_thread = 0;

constexpr int kVersion = CUDART_VERSION;
constexpr int kComputeCapability = 9;  // .0

struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* text;
};
constexpr ErrorText kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorECCUncorrectable, "cudaErrorECCUncorrectable", "uncorrectable ECC error encountered"},
};

const ErrorText& entry_of(cudaError_t error) {
  static constexpr ErrorText kOther = {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"};
  for (const ErrorText& entry : kErrors) {
    if (entry.error == error) return entry;
  }
  return kOther;
}

bool is_device(int device) { return device >= 0 && device < n_devices(); }

}  // namespace

int current_device() { return device_of_thread; }

cudaError_t fail(cudaError_t error, const char* why) {
  std::fprintf(stderr, "simulated GPU: %s: %s\n", entry_of(error).name, why);
  last_error = error;
  return error;
}

/// Environment SIMULATED_GPU_LOST_AS: `ecc`; `bus`, as of a GPU that has fallen off it; else what
/// most Xid errors look like.
cudaError_t lost() {
  static const cudaError_t error = [] {
    const char* const as = std::getenv("SIMULATED_GPU_LOST_AS");
    const std::string text = as == nullptr ? "" : as;
    if (text == "ecc") return cudaErrorECCUncorrectable;
    return text == "bus" ? cudaErrorUnknown : cudaErrorLaunchFailure;
  }();
  last_error = error;
  return error;
}

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = n_devices();
  if (*count > 0) return cudaSuccess;
  last_error = cudaErrorNoDevice;
  return cudaErrorNoDevice;
}
cudaError_t cudaGetDevice(int* device) {
  *device = device_of_thread;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (!is_device(device)) return fail(cudaErrorInvalidDevice, "cudaSetDevice");
  device_of_thread = device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (!is_device(device)) return fail(cudaErrorInvalidDevice, "cudaGetDeviceProperties");
  std::memset(properties, 0, sizeof *properties);
  std::strcpy(properties->name, "simulated GPU");
  properties->major = kComputeCapability;
  properties->warpSize = 32;
  properties->multiProcessorCount = 4;
  properties->maxThreadsPerBlock = 1024;
  properties->totalGlobalMem = memory_of_device();
  return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char* id, int size, int device) {
  if (!is_device(device)) return fail(cudaErrorInvalidDevice, "cudaDeviceGetPCIBusId");
  std::snprintf(id, static_cast<std::size_t>(size), "FFFF:00:%02X.0", device);  // on no machine
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? kComputeCapability : 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) {
  *can = 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) {
  return fail(cudaErrorNotSupported, "cudaDeviceEnablePeerAccess");
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -1;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = kVersion;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kVersion;
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t error) { return entry_of(error).text; }
const char* cudaGetErrorName(cudaError_t error) { return entry_of(error).name; }
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }

// libc10_cuda.so names these; nothing here uses memory pools, handles of other processes, or the
// driver's own functions.
#define ORRERY_NOT_SIMULATED(function, ...) \
  cudaError_t function(__VA_ARGS__) { return fail(cudaErrorNotSupported, #function); }
ORRERY_NOT_SIMULATED(cudaDeviceGetDefaultMemPool, cudaMemPool_t*, int)
ORRERY_NOT_SIMULATED(cudaMemPoolGetAttribute, cudaMemPool_t, cudaMemPoolAttr, void*)
ORRERY_NOT_SIMULATED(cudaMemPoolSetAccess, cudaMemPool_t, const cudaMemAccessDesc*, size_t)
ORRERY_NOT_SIMULATED(cudaMemPoolSetAttribute, cudaMemPool_t, cudaMemPoolAttr, void*)
ORRERY_NOT_SIMULATED(cudaMemPoolTrimTo, cudaMemPool_t, size_t)
ORRERY_NOT_SIMULATED(cudaIpcGetMemHandle, cudaIpcMemHandle_t*, void*)
ORRERY_NOT_SIMULATED(cudaIpcOpenMemHandle, void**, cudaIpcMemHandle_t, unsigned)
ORRERY_NOT_SIMULATED(cudaIpcCloseMemHandle, void*)
ORRERY_NOT_SIMULATED(cudaGraphNodeGetDependencies, cudaGraphNode_t, cudaGraphNode_t*,
                     cudaGraphEdgeData*, size_t*)
#undef ORRERY_NOT_SIMULATED
cudaError_t cudaGetDriverEntryPointByVersion(const char*, void** function, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  *function = nullptr;
  if (result != nullptr) *result = cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

}  // extern "C"

}  // namespace orrery::simulated_gpu
