// What the files of the simulated libcudart.so share.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstdio>
#include <new>
#include <utility>

#include "streams.h"

namespace orrery::simulated_gpu {

/// Of the calling thread.
int current_device();
Stream stream_of(cudaStream_t stream);

/// Keeps an error for cudaGetLastError of this thread, and says on standard error what it was
/// about.
cudaError_t fail(cudaError_t error, const char* why);

/// The error of every call once the device is lost.
cudaError_t lost();

/// Runs `work`; a rule that it breaks becomes the error that CUDA has for it.
template <class Work>
cudaError_t guarded(const Work& work) {
  if (is_lost(current_device())) return lost();
  try {
    work();
    return cudaSuccess;
  } catch (const DeviceLost&) {
    return lost();
  } catch (const std::bad_alloc&) {
    return fail(cudaErrorMemoryAllocation, "out of memory");
  } catch (const StreamError& error) {
    return fail(cudaErrorStreamCaptureUnsupported, error.what());
  } catch (const std::exception& error) {
    return fail(cudaErrorInvalidValue, error.what());
  }
}

}  // namespace orrery::simulated_gpu
