#include "nccl_check.h"

#include <chrono>
#include <thread>

#include "orrery/base/error.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"

namespace orrery::comm {

namespace {

constexpr std::chrono::seconds kCloseLimit{5};

}  // namespace

void throw_nccl_error(ncclResult_t result, const char* call, std::source_location where) {
  throw CommError(base::concat("NCCL failed in ", where.function_name(), " (", where.file_name(),
                               ":", where.line(), "): ", call),
                  {.expected = "ncclSuccess",
                   .got = ncclGetErrorString(result),
                   .advice = "run again with NCCL_DEBUG=INFO for its own account"});
}

void throw_cuda_error(cudaError_t error, const char* call, std::source_location where) {
  throw CommError(base::concat("CUDA failed in ", where.function_name(), " (", where.file_name(),
                               ":", where.line(), "): ", call),
                  {.expected = "cudaSuccess",
                   .got = cudaGetErrorString(error),
                   .advice = "an earlier kernel may be at fault: run again with "
                             "CUDA_LAUNCH_BLOCKING=1"});
}

void NcclCommTraits::close(Raw raw) noexcept {
  const auto limit = std::chrono::steady_clock::now() + kCloseLimit;
  ncclResult_t state = ncclCommFinalize(raw);
  while (state == ncclInProgress && std::chrono::steady_clock::now() < limit) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (ncclCommGetAsyncError(raw, &state) != ncclSuccess) state = ncclInternalError;
  }
  if (state == ncclSuccess) {
    ncclCommDestroy(raw);
    return;
  }
  base::log_warning("a NCCL communicator could not be finalized: aborted");
  ncclCommAbort(raw);
}

void CudaEventTraits::close(Raw raw) noexcept {
  if (cudaEventDestroy(raw) != cudaSuccess) base::log_warning("cudaEventDestroy failed");
}

}  // namespace orrery::comm
