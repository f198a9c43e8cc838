// The checked call of the CUDA runtime, also after a launch. For .cu files.
#pragma once

#include <cuda_runtime_api.h>

namespace orrery::kernels {

/// Throws CallError.
[[noreturn]] void throw_cuda_error(cudaError_t error, const char* call, const char* file, int line);

inline void check_cuda(cudaError_t error, const char* call, const char* file, int line) {
  if (error != cudaSuccess) throw_cuda_error(error, call, file, line);
}

#define ORRERY_CUDA(call) ::orrery::kernels::check_cuda((call), #call, __FILE__, __LINE__)

}  // namespace orrery::kernels
