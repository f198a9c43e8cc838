// Of a build without CUDA, where no tensor is on a GPU.
#include "cuda_capture.h"
#include "orrery/base/error.h"

namespace orrery::model {

void CudaGraphTraits::close(cudaGraphExec_t) noexcept {}

CudaGraph::CudaGraph(c10::Device device, const std::function<void()>&) : device_(device) {
  throw CallError("a CUDA graph", {.expected = "a build with CUDA",
                                   .got = "one without",
                                   .advice = "build with `cmake --preset cuda`"});
}

void CudaGraph::launch() const {}

}  // namespace orrery::model
