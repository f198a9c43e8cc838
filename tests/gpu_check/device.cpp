#include "device.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>

#include "cuda_check.h"
#include "orrery/base/clock.h"
#include "orrery/base/unique_handle.h"

namespace orrery::gpu_check {

namespace {

struct StreamTraits {
  using Raw = cudaStream_t;
  static Raw none() { return nullptr; }
  static void close(Raw stream) noexcept { cudaStreamDestroy(stream); }
};
struct GraphTraits {
  using Raw = cudaGraph_t;
  static Raw none() { return nullptr; }
  static void close(Raw graph) noexcept { cudaGraphDestroy(graph); }
};
struct ExecutableGraphTraits {
  using Raw = cudaGraphExec_t;
  static Raw none() { return nullptr; }
  static void close(Raw graph) noexcept { cudaGraphExecDestroy(graph); }
};
using Stream = base::UniqueHandle<StreamTraits>;

Stream new_stream() {
  cudaStream_t stream = nullptr;
  ORRERY_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return Stream(stream);
}

void wait_for(const Stream& stream) { ORRERY_CUDA(cudaStreamSynchronize(stream.get())); }

/// Runs 0 to n_runs - 1 as one launch.
class Graph {
 public:
  Graph(const Work& work, int64_t n_runs, const Stream& stream) {
    ORRERY_CUDA(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal));
    cudaGraph_t graph = nullptr;
    try {
      for (int64_t run = 0; run < n_runs; ++run) work(run, stream.get());
    } catch (...) {
      cudaStreamEndCapture(stream.get(), &graph);
      throw;
    }
    ORRERY_CUDA(cudaStreamEndCapture(stream.get(), &graph));
    graph_ = base::UniqueHandle<GraphTraits>(graph);
    cudaGraphExec_t executable = nullptr;
    ORRERY_CUDA(cudaGraphInstantiate(&executable, graph, 0));
    executable_ = base::UniqueHandle<ExecutableGraphTraits>(executable);
  }
  void launch(const Stream& stream) const {
    ORRERY_CUDA(cudaGraphLaunch(executable_.get(), stream.get()));
  }

 private:
  base::UniqueHandle<GraphTraits> graph_;
  base::UniqueHandle<ExecutableGraphTraits> executable_;
};

constexpr int kRounds = 5;
constexpr int64_t kMostRunsOfGraph = 256;

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  ORRERY_CUDA(cudaDeviceGetAttribute(&value, which, device));
  return value;
}

double median(std::vector<double> numbers) {
  std::sort(numbers.begin(), numbers.end());
  return numbers[numbers.size() / 2];
}

/// How often something of `once` seconds fits into `seconds`.
int64_t repetitions(double seconds, double once, int64_t most) {
  return std::clamp<int64_t>(static_cast<int64_t>(seconds / std::max(once, 1e-7)), 1, most);
}

/// Seconds of work() and of waiting for it.
template <class SomeWork>
double timed(const Stream& stream, const SomeWork& work) {
  wait_for(stream);
  const base::Stopwatch watch;
  work();
  wait_for(stream);
  return watch.seconds();
}

}  // namespace

DeviceFacts device_facts(int device) {
  cudaDeviceProp properties = {};
  ORRERY_CUDA(cudaGetDeviceProperties(&properties, device));
  DeviceFacts facts;
  facts.name = properties.name;
  facts.is_simulated = facts.name == "simulated GPU";
  facts.n_gpus = kernels::gpu_count();
  facts.compute_major = properties.major;
  facts.compute_minor = properties.minor;
  facts.n_multiprocessors = properties.multiProcessorCount;
  facts.memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  facts.l2_bytes = properties.l2CacheSize;
  facts.clock_khz = attribute(cudaDevAttrClockRate, device);
  facts.memory_clock_khz = attribute(cudaDevAttrMemoryClockRate, device);
  facts.memory_bus_bits = attribute(cudaDevAttrGlobalMemoryBusWidth, device);
  ORRERY_CUDA(cudaDriverGetVersion(&facts.driver_version));
  ORRERY_CUDA(cudaRuntimeGetVersion(&facts.runtime_version));
  return facts;
}

int64_t bytes_taken() {
  size_t free_bytes = 0, total = 0;
  ORRERY_CUDA(cudaMemGetInfo(&free_bytes, &total));
  return static_cast<int64_t>(total - free_bytes);
}

DeviceMemory::DeviceMemory(int64_t size_bytes)
    : size_bytes_(size_bytes), memory_(kernels::allocate_on_gpu(static_cast<size_t>(size_bytes))) {}

DeviceMemory::~DeviceMemory() { kernels::free_on_gpu(memory_); }

void DeviceMemory::fill(const void* pattern, int64_t pattern_bytes) {
  int64_t filled = std::min(pattern_bytes, size_bytes_);
  kernels::copy_to_gpu(memory_, pattern, static_cast<size_t>(filled));
  char* const begin = static_cast<char*>(memory_);
  const Stream stream = new_stream();
  while (filled > 0 && filled < size_bytes_) {
    const int64_t more = std::min(filled, size_bytes_ - filled);
    copy_async(begin + filled, begin, more, stream.get());
    filled += more;
  }
  wait_for(stream);
}

PinnedMemory::PinnedMemory(int64_t size_bytes) {
  ORRERY_CUDA(cudaMallocHost(&memory_, static_cast<size_t>(size_bytes)));
}

PinnedMemory::~PinnedMemory() { cudaFreeHost(memory_); }

void copy_async(void* to, const void* from, int64_t size_bytes, cudaStream_t stream) {
  ORRERY_CUDA(
      cudaMemcpyAsync(to, from, static_cast<size_t>(size_bytes), cudaMemcpyDefault, stream));
}

double Timer::in_graph(const Work& work) const {
  const Stream stream = new_stream();
  work(0, stream.get());  // loads the kernel
  const double once = timed(stream, [&] { work(0, stream.get()); });
  const int64_t n_runs = repetitions(seconds_ / kRounds, once, kMostRunsOfGraph);
  const Graph graph(work, n_runs, stream);
  const double of_graph = timed(stream, [&] { graph.launch(stream); });
  const int64_t n_launches = repetitions(seconds_ / kRounds, of_graph, 1'000'000);
  std::vector<double> rounds;
  for (int round = 0; round < kRounds; ++round) {
    rounds.push_back(timed(stream, [&] {
      for (int64_t i = 0; i < n_launches; ++i) graph.launch(stream);
    }));
  }
  return median(rounds) / static_cast<double>(n_launches * n_runs);
}

double Timer::in_graph_after(const Work& prepare, const Work& work) const {
  const double preparation = in_graph(prepare);
  // Last, so that the results of `work` stay.
  const double both = in_graph([&](int64_t run, cudaStream_t stream) {
    prepare(run, stream);
    work(run, stream);
  });
  return std::max(both - preparation, 0.0);
}

double Timer::in_stream(const Work& work) const {
  const Stream stream = new_stream();
  work(0, stream.get());
  const double once = timed(stream, [&] { work(0, stream.get()); });
  const int64_t n_runs = repetitions(seconds_ / kRounds, once, 100'000);
  std::vector<double> rounds;
  for (int round = 0; round < kRounds; ++round) {
    rounds.push_back(timed(stream, [&] {
      for (int64_t run = 0; run < n_runs; ++run) work(run, stream.get());
    }));
  }
  return median(rounds) / static_cast<double>(n_runs);
}

double Timer::waited_for(const Work& work) const {
  const Stream stream = new_stream();
  work(0, stream.get());
  std::vector<double> times;
  const base::Stopwatch watch;
  do {
    times.push_back(timed(stream, [&] { work(0, stream.get()); }));
  } while (watch.seconds() < seconds_);
  return median(times);
}

double Timer::graph_waited_for(const Work& work, int64_t n_runs) const {
  const Stream stream = new_stream();
  work(0, stream.get());
  const Graph graph(work, n_runs, stream);
  graph.launch(stream);
  std::vector<double> times;
  const base::Stopwatch watch;
  do {
    times.push_back(timed(stream, [&] { graph.launch(stream); }));
  } while (watch.seconds() < seconds_);
  return median(times);
}

int64_t bytes_of_graph(const Work& work, int64_t n_runs) {
  const Stream stream = new_stream();
  work(0, stream.get());
  wait_for(stream);
  const int64_t before = bytes_taken();
  const Graph graph(work, n_runs, stream);
  graph.launch(stream);  // what a graph needs is taken at its first launch at the latest
  wait_for(stream);
  return bytes_taken() - before;
}

}  // namespace orrery::gpu_check
