// Checked calls of NCCL and of the CUDA runtime, and the owner of a NCCL communicator.
#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <source_location>

#include "orrery/base/unique_handle.h"

namespace orrery::comm {

[[noreturn]] void throw_nccl_error(ncclResult_t result, const char* call,
                                   std::source_location where);
[[noreturn]] void throw_cuda_error(cudaError_t error, const char* call, std::source_location where);

inline void check_nccl(ncclResult_t result, const char* call, std::source_location where) {
  // "In progress" is how non-blocking groups say that they will report later.
  if (result != ncclSuccess && result != ncclInProgress) throw_nccl_error(result, call, where);
}
inline void check_cuda(cudaError_t error, const char* call, std::source_location where) {
  if (error != cudaSuccess) throw_cuda_error(error, call, where);
}

#define ORRERY_NCCL(call) ::orrery::comm::check_nccl((call), #call, std::source_location::current())
#define ORRERY_CUDA(call) ::orrery::comm::check_cuda((call), #call, std::source_location::current())

struct NcclCommTraits {
  using Raw = ncclComm_t;
  static Raw none() noexcept { return nullptr; }
  static void close(Raw raw) noexcept;  // waits some seconds for the peers, then aborts
};
using UniqueNcclComm = base::UniqueHandle<NcclCommTraits>;

struct CudaEventTraits {
  using Raw = cudaEvent_t;
  static Raw none() noexcept { return nullptr; }
  static void close(Raw raw) noexcept;
};
using UniqueCudaEvent = base::UniqueHandle<CudaEventTraits>;

}  // namespace orrery::comm
