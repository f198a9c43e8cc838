// What a GPU is to do, recorded once and launched as one CUDA graph as often as wanted. Compiles
// without CUDA's headers. Private to src/model.
#pragma once

#include <c10/core/Device.h>

#include <functional>

#include "orrery/base/unique_handle.h"

/// As in CUDA's headers.
typedef struct CUgraphExec_st* cudaGraphExec_t;

namespace orrery::model {

struct CudaGraphTraits {
  using Raw = cudaGraphExec_t;
  static Raw none() noexcept { return nullptr; }
  static void close(Raw raw) noexcept;  // what is running goes on to its end
};

/// Launched on the stream that is current on its device, after what was enqueued there before. Any
/// thread, one at a time.
class CudaGraph {
 public:
  /// Records what `work` enqueues on the current stream, in place of running it. It reads and
  /// writes the same memory at each launch, with the numbers that memory holds then; numbers of the
  /// host are those of now. `work` must have run before in the same way, so that libraries have
  /// what they make when they are used first. Memory that it allocates and frees is kept for graphs
  /// of the calling thread. Throws what `work` throws (it may not wait for the device) and
  /// CallError.
  CudaGraph(c10::Device device, const std::function<void()>& work);

  void launch() const;

 private:
  c10::Device device_;
  base::UniqueHandle<CudaGraphTraits> graph_;
};

}  // namespace orrery::model
