// Compiled only with CUDA, whose headers it needs.
#include "cuda_capture.h"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <map>
#include <string>
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/log.h"

namespace orrery::model {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

void check(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // not left behind for the check of a later call to find
  throw CallError(call, {.expected = "cudaSuccess",
                         .got = cudaGetErrorString(error),
                         .advice = "an earlier kernel may be at fault"});
}

/// Of the calling thread, one for each device and for good: LibTorch keeps cuBLAS's workspace for
/// each stream that it ever had. The default stream cannot be captured.
c10::cuda::CUDAStream capture_stream(c10::DeviceIndex device) {
  thread_local std::map<c10::DeviceIndex, c10::cuda::CUDAStream> streams;
  const auto found = streams.find(device);
  if (found != streams.end()) return found->second;
  return streams.emplace(device, c10::cuda::getStreamFromPool(false, device)).first->second;
}

/// While it lives, what is allocated on the stream comes from memory that only graphs use: else its
/// next owner would find in it what a launch of the graph wrote there. The graphs of one stream may
/// share it, since they run one after another.
class MemoryOfGraphs {
 public:
  explicit MemoryOfGraphs(const c10::cuda::CUDAStream& stream)
      : device_(stream.device_index()), pool_{static_cast<uint64_t>(stream.id()), 1} {
    const cudaStream_t captured = stream.stream();
    allocator::beginAllocateToPool(device_, pool_,
                                   [captured](cudaStream_t used) { return used == captured; });
  }
  ~MemoryOfGraphs() { allocator::endAllocateToPool(device_, pool_); }
  MemoryOfGraphs(const MemoryOfGraphs&) = delete;
  MemoryOfGraphs& operator=(const MemoryOfGraphs&) = delete;

 private:
  c10::DeviceIndex device_;
  c10::MempoolId_t pool_;
};

struct RecordedTraits {
  using Raw = cudaGraph_t;
  static Raw none() noexcept { return nullptr; }
  static void close(Raw raw) noexcept { cudaGraphDestroy(raw); }
};
using Recorded = base::UniqueHandle<RecordedTraits>;

/// A capture, which ends in any case.
class Capture {
 public:
  explicit Capture(cudaStream_t stream) : stream_(stream) {
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal),
          "cudaStreamBeginCapture");
  }
  ~Capture() {
    if (stream_ == nullptr) return;
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(stream_, &graph);
    const Recorded unused(graph);
    cudaGetLastError();
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  Recorded end() {
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(std::exchange(stream_, nullptr), &graph), "cudaStreamEndCapture");
    return Recorded(graph);
  }

 private:
  cudaStream_t stream_;
};

}  // namespace

void CudaGraphTraits::close(cudaGraphExec_t raw) noexcept {
  const cudaError_t error = cudaGraphExecDestroy(raw);
  if (error == cudaSuccess) return;
  base::log_warning(std::string("cudaGraphExecDestroy: ") + cudaGetErrorString(error));
}

CudaGraph::CudaGraph(c10::Device device, const std::function<void()>& work) : device_(device) {
  const c10::cuda::CUDAStream stream = capture_stream(device.index());
  const c10::cuda::CUDAStreamGuard current(stream);
  const MemoryOfGraphs memory(stream);
  Capture capture(stream.stream());
  work();
  const Recorded recorded = capture.end();
  cudaGraphExec_t graph = nullptr;
  check(cudaGraphInstantiate(&graph, recorded.get(), 0), "cudaGraphInstantiate");
  graph_ = base::UniqueHandle<CudaGraphTraits>(graph);
}

void CudaGraph::launch() const {
  const c10::cuda::CUDAGuard device(device_);
  check(cudaGraphLaunch(graph_.get(), c10::cuda::getCurrentCUDAStream(device_.index()).stream()),
        "cudaGraphLaunch");
}

}  // namespace orrery::model
