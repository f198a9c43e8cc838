// libcudart.so of the simulated GPUs: streams, events, graphs.
#include <cuda_runtime_api.h>

#include <mutex>
#include <set>

#include "runtime.h"

namespace orrery::simulated_gpu {

namespace {

cudaEvent_t handle_of_event(Event event) {
  return reinterpret_cast<cudaEvent_t>(static_cast<std::uintptr_t>(event));
}
Event event_of(cudaEvent_t event) {
  return static_cast<Event>(reinterpret_cast<std::uintptr_t>(event));
}
static_assert(cudaStreamCaptureModeRelaxed == static_cast<int>(CaptureMode::kRelaxed));

Graph graph_of(const void* graph) {
  return static_cast<Graph>(reinterpret_cast<std::uintptr_t>(graph));
}

/// Graphs that can be launched. Used under lock_of_streams().
std::set<Graph>& instantiated() {
  static auto* const all = new std::set<Graph>;
  return *all;
}

}  // namespace

Stream stream_of(cudaStream_t stream) { return stream_of_handle(stream, current_device()); }

extern "C" {

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  return guarded([&] {
    *stream = reinterpret_cast<cudaStream_t>(
        kFirstStreamHandle + static_cast<std::uintptr_t>(new_stream(current_device())));
  });
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return cudaStreamCreateWithPriority(stream, flags, 0);
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithPriority(stream, 0, 0);
}
// Its work goes on to its end, as in CUDA.
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return guarded([&] { synchronize(stream_of(stream)); });
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  bool idle = false;
  const cudaError_t error = guarded([&] { idle = is_idle(stream_of(stream)); });
  return error != cudaSuccess || idle ? error : cudaErrorNotReady;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return guarded([&] { wait_for(stream_of(stream), event_of(event)); });
}
cudaError_t cudaDeviceSynchronize() {
  return guarded([] { synchronize_device(current_device()); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return guarded([&] { *event = handle_of_event(new_event()); });
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return guarded([&] { destroy_event(event_of(event)); });
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return guarded([&] { record(event_of(event), stream_of(stream)); });
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  bool passed = false;
  const cudaError_t error = guarded([&] { passed = has_passed(event_of(event)); });
  return error != cudaSuccess || passed ? error : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return guarded([&] { synchronize_event(event_of(event)); });
}
// Nothing here takes time that would mean something.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 0;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return guarded([&] { begin_capture(stream_of(stream), static_cast<CaptureMode>(mode)); });
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return guarded([&] {
    *status = is_capturing(stream_of(stream)) ? cudaStreamCaptureStatusActive
                                              : cudaStreamCaptureStatusNone;
  });
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                     unsigned long long* id, cudaGraph_t*, const cudaGraphNode_t**,
                                     const cudaGraphEdgeData**, size_t*) {
  if (id != nullptr) *id = 1;
  return cudaStreamIsCapturing(stream, status);
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  *mode =
      static_cast<cudaStreamCaptureMode>(exchange_capture_mode(static_cast<CaptureMode>(*mode)));
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  return guarded([&] {
    *graph =
        reinterpret_cast<cudaGraph_t>(static_cast<std::uintptr_t>(end_capture(stream_of(stream))));
  });
}
// What can be launched is the graph itself; it lives until that is destroyed.
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = reinterpret_cast<cudaGraphExec_t>(graph);
  const std::lock_guard lock(lock_of_streams());
  instantiated().insert(graph_of(graph));
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return guarded([&] {
    launch_graph(graph_of(executable), stream_of(stream));
    ++counters().graphs;
  });
}
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* n_nodes) {
  return guarded([&] { *n_nodes = static_cast<size_t>(size_of_graph(graph_of(graph))); });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return guarded([&] {
    const std::lock_guard lock(lock_of_streams());
    if (instantiated().count(graph_of(graph)) == 0) destroy_graph(graph_of(graph));
  });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  return guarded([&] {
    const std::lock_guard lock(lock_of_streams());
    instantiated().erase(graph_of(executable));
    destroy_graph(graph_of(executable));
  });
}

}  // extern "C"

}  // namespace orrery::simulated_gpu
