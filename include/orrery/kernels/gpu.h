// Whether this process has a GPU, and plain memory on it. In a build without CUDA there is none,
// and what needs one throws. Plain C++17: .cu files include it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

/// As in CUDA's headers, which most files must not need.
typedef struct CUstream_st* cudaStream_t;

namespace orrery::kernels {

/// GPUs that this process sees; 0 also without a driver. Local; any thread.
int gpu_count();

/// Why gpu_count() is 0, as a sentence; empty: it is not.
std::string why_no_gpu();

/// What sysfs calls a GPU of this process: `0000:3b:00.0`. Throws CallError.
std::string gpu_pci_id(int device);

/// All of it, in use or not. Throws CallError.
int64_t gpu_memory_bytes(int device);

/// 90 for compute capability 9.0. Throws CallError.
int gpu_compute_capability(int device);

/// As CUDA numbers them, 13000 for 13.0. The driver's is the newest that it can run; 0: there is no
/// driver, or no CUDA in this build.
struct CudaVersions {
  int driver = 0;
  int runtime = 0;
};
CudaVersions cuda_versions();

/// What the kernels use: the calling thread's device from now on. Throws CallError.
void use_gpu(int device);

/// Memory of the GPU in use. Throws CallError (out of memory, no GPU).
void* allocate_on_gpu(std::size_t size_bytes);
void free_on_gpu(void* memory) noexcept;  // null is allowed
void copy_to_gpu(void* gpu, const void* host, std::size_t size_bytes);
void copy_from_gpu(void* host, const void* gpu, std::size_t size_bytes);

/// Memory of the host that GPUs copy from and to while nobody waits. Null: the system has none to
/// give. Throws CallError (no GPU).
void* allocate_pinned(std::size_t size_bytes);
/// Waits for all work of the GPU in use.
void free_pinned(void* memory) noexcept;  // null is allowed
/// Between a GPU and pinned memory, when `stream` comes to it. Throw CallError.
void enqueue_copy_to_gpu(void* gpu, const void* pinned, std::size_t size_bytes,
                         cudaStream_t stream);
void enqueue_copy_from_gpu(void* pinned, const void* gpu, std::size_t size_bytes,
                           cudaStream_t stream);

/// Why the GPU in use does nothing more in this process, such as
/// `cudaErrorECCUncorrectable: uncorrectable ECC error encountered`: an error after which CUDA
/// wants a new process, and that is mostly the hardware's. Empty: none is known. Does not wait; not
/// while a stream is being captured.
std::string why_gpu_is_lost();

/// Waits for all work of the GPU in use. Throws CallError with what a kernel did wrong.
void wait_for_gpu();

}  // namespace orrery::kernels
