// libcudart.so of the simulated GPUs: memory and copies.
#include <cuda_runtime_api.h>

#include <cstring>
#include <string>

#include "memory.h"
#include "runtime.h"

namespace orrery::simulated_gpu {

namespace {

/// Why a copy of this kind cannot be; null: it can.
const char* problem_of(const void* to, const void* from, size_t size_bytes, cudaMemcpyKind kind) {
  const bool to_device = is_on_device(to), from_device = is_on_device(from);
  const bool wants_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool wants_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind != cudaMemcpyDefault && to_device != wants_to) {
    return to_device ? "a copy to the host has a destination on a device"
                     : "a copy to a device has a destination on the host";
  }
  if (kind != cudaMemcpyDefault && from_device != wants_from) {
    return from_device ? "a copy from the host has a source on a device"
                       : "a copy from a device has a source on the host";
  }
  if (to_device && room_at(to) < size_bytes) return "a copy goes beyond its destination's block";
  if (from_device && room_at(from) < size_bytes) return "a copy goes beyond its source's block";
  return nullptr;
}

void count_copy(bool to_device, bool from_device, size_t size_bytes) {
  const auto n = static_cast<int64_t>(size_bytes);
  if (to_device && from_device) {
    ++counters().copies_on_device;
    counters().bytes_on_device += n;
  } else if (to_device) {
    ++counters().copies_to_device;
    counters().bytes_to_device += n;
  } else {
    ++counters().copies_to_host;
    counters().bytes_to_host += n;
  }
}

void check_no_capture(const char* what) {
  if (is_refused_by_capture()) {
    throw StreamError(std::string(what) + " while a stream is being captured");
  }
}

/// Pinned memory is read and written when the stream comes to it, other host memory at once.
void copy(void* to, const void* from, size_t size_bytes, Stream stream) {
  const bool to_device = is_on_device(to), from_device = is_on_device(from);
  count_copy(to_device, from_device, size_bytes);
  const bool is_staged = !from_device && !is_pinned(from);
  const bool waits = !to_device && !is_pinned(to);
  if ((is_staged || waits) && is_capturing(stream)) {
    throw StreamError("a copy of host memory that is not pinned inside a capture");
  }
  if (is_staged) {
    launch(stream, "copy",
           [to = view(to), bytes = std::string(static_cast<const char*>(from), size_bytes)] {
             std::memcpy(to, bytes.data(), bytes.size());
           });
  } else {
    // Who reads the result before it is there must not find what was there by luck.
    if (!to_device && !waits && !is_capturing(stream)) std::memset(to, 0xFF, size_bytes);
    const bool is_pinned_copy = !waits && to_device != from_device;
    launch(stream, is_pinned_copy ? kPinnedCopy : "copy",
           [to = view(to), from = view(from), size_bytes] { std::memcpy(to, from, size_bytes); });
  }
  if (waits) synchronize(stream);
}

}  // namespace

extern "C" {

cudaError_t cudaMalloc(void** memory, size_t size_bytes) {
  *memory = nullptr;
  if (size_bytes == 0) return cudaSuccess;
  return guarded([&] {
    check_no_capture("cudaMalloc");
    ++counters().allocations;
    *memory = allocate(current_device(), size_bytes);
  });
}
cudaError_t cudaFree(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  return guarded([&] {
    check_no_capture("cudaFree");
    const auto block = block_at(memory);
    if (block) synchronize_device(block->device);
    release(memory);
  });
}
cudaError_t cudaMallocAsync(void** memory, size_t size_bytes, cudaStream_t) {
  return cudaMalloc(memory, size_bytes);
}
cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  return guarded([&] { launch(stream_of(stream), "free", [memory] { release(memory); }); });
}
cudaError_t cudaHostAlloc(void** memory, size_t size_bytes, unsigned) {
  return guarded([&] { *memory = allocate_pinned(size_bytes); });
}
cudaError_t cudaMallocHost(void** memory, size_t size_bytes) {
  return cudaHostAlloc(memory, size_bytes, 0);
}
cudaError_t cudaFreeHost(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  return guarded([&] {
    for (int device = 0; device < n_devices(); ++device) synchronize_device(device);
    release_pinned(memory);
  });
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
  *total = memory_of_device();
  *free_bytes = *total - bytes_in_use(current_device());
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size_bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (size_bytes == 0) return cudaSuccess;
  if (const char* const problem = problem_of(to, from, size_bytes, kind)) {
    return fail(cudaErrorInvalidValue, problem);
  }
  return guarded([&] { copy(to, from, size_bytes, stream_of(stream)); });
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t size_bytes, cudaMemcpyKind kind) {
  // What failed before it leaves no copy behind, whose memory would be the caller's again.
  cudaError_t error = guarded([] { drain(default_stream(current_device())); });
  if (error == cudaSuccess) error = cudaMemcpyAsync(to, from, size_bytes, kind, nullptr);
  if (error != cudaSuccess || size_bytes == 0) return error;
  return guarded([] { synchronize(default_stream(current_device())); });
}
cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t size_bytes,
                                cudaStream_t stream) {
  return cudaMemcpyAsync(to, from, size_bytes, cudaMemcpyDefault, stream);
}
cudaError_t cudaMemsetAsync(void* memory, int value, size_t size_bytes, cudaStream_t stream) {
  if (size_bytes == 0) return cudaSuccess;
  if (room_at(memory) < size_bytes) {
    return fail(cudaErrorInvalidValue, "a memset goes beyond its block");
  }
  return guarded([&] {
    launch(stream_of(stream), "memset",
           [memory = view(memory), value, size_bytes] { std::memset(memory, value, size_bytes); });
  });
}
cudaError_t cudaMemset(void* memory, int value, size_t size_bytes) {
  return cudaMemsetAsync(memory, value, size_bytes, nullptr);
}

}  // extern "C"

}  // namespace orrery::simulated_gpu
