// That the simulated GPU sees what a program can do wrong with memory, streams, events and graphs,
// and that it sees nothing where a program is right. Each mistake is planted here as a program
// would make it.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "memory.h"
#include "orders_for_test.h"
#include "streams.h"

namespace orrery::simulated_gpu {
namespace {

constexpr size_t kSize = 1000;
constexpr size_t kBytes = kSize * sizeof(float);

/// Each test in each order.
class SimulatedGpu : public testing::TestWithParam<Order> {
 protected:
  void SetUp() override {
    set_order(GetParam());
    ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
    ASSERT_EQ(cudaStreamCreate(&stream_), cudaSuccess);
    ASSERT_EQ(cudaStreamCreate(&other_), cudaSuccess);
  }
  void TearDown() override {
    cudaDeviceSynchronize();
    for (void* const memory : memory_) cudaFree(memory);
    for (void* const memory : pinned_) cudaFreeHost(memory);
    cudaGetLastError();
  }

  float* on_device() {
    void* memory = nullptr;
    EXPECT_EQ(cudaMalloc(&memory, kBytes), cudaSuccess);
    memory_.push_back(memory);
    return static_cast<float*>(memory);
  }
  /// [kSize] all of one value.
  float* pinned(float value) {
    void* memory = nullptr;
    EXPECT_EQ(cudaMallocHost(&memory, kBytes), cudaSuccess);
    pinned_.push_back(memory);
    std::fill_n(static_cast<float*>(memory), kSize, value);
    return static_cast<float*>(memory);
  }
  static void copy(void* to, const void* from, cudaStream_t stream) {
    EXPECT_EQ(cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDefault, stream), cudaSuccess);
  }
  static float first_of(const float* memory) {
    float value = 0;
    EXPECT_EQ(cudaMemcpy(&value, memory, sizeof value, cudaMemcpyDeviceToHost), cudaSuccess);
    return value;
  }
  /// Runs late, whatever else waits: what no wait protects has not happened yet.
  bool is_late() const { return GetParam() != Order::kEager; }

  cudaStream_t stream_ = nullptr, other_ = nullptr;
  std::vector<void*> memory_, pinned_;
};

INSTANTIATE_TEST_SUITE_P(EveryOrder, SimulatedGpu, kEveryOrder, name_of);

TEST_P(SimulatedGpu, CopiesThereAndBack) {
  float* const memory = on_device();
  float* const result = pinned(0);

  copy(memory, pinned(3), stream_);
  copy(result, memory, stream_);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);

  EXPECT_EQ(result[0], 3);
  EXPECT_EQ(result[kSize - 1], 3);
}

TEST_P(SimulatedGpu, OrdersStreamsByAnEvent) {
  float* const memory = on_device();
  float* const result = pinned(0);
  cudaEvent_t event = nullptr;
  ASSERT_EQ(cudaEventCreate(&event), cudaSuccess);

  copy(memory, pinned(3), stream_);
  EXPECT_EQ(cudaEventRecord(event, stream_), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(other_, event, 0), cudaSuccess);
  copy(result, memory, other_);
  EXPECT_EQ(cudaStreamSynchronize(other_), cudaSuccess);

  EXPECT_EQ(result[0], 3);
}

TEST_P(SimulatedGpu, ShowsThatAnEventBetweenStreamsIsMissing) {
  float* const memory = on_device();
  float* const result = pinned(0);

  copy(memory, pinned(3), stream_);
  copy(result, memory, other_);
  EXPECT_EQ(cudaStreamSynchronize(other_), cudaSuccess);

  EXPECT_EQ(std::isnan(result[0]), is_late());
}

TEST_P(SimulatedGpu, ShowsAResultThatIsReadTooEarly) {
  float* const memory = on_device();
  float* const result = pinned(7);
  copy(memory, pinned(3), stream_);

  copy(result, memory, stream_);

  EXPECT_EQ(std::isnan(result[0]), is_late());
}

TEST_P(SimulatedGpu, ShowsAPinnedBufferThatIsOverwrittenBeforeItsCopy) {
  float* const memory = on_device();
  float* const source = pinned(3);

  copy(memory, source, stream_);
  source[0] = 5;
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);

  EXPECT_EQ(first_of(memory), is_late() ? 5 : 3);
}

TEST_P(SimulatedGpu, ReadsOtherHostMemoryAtOnce) {
  float* const memory = on_device();
  std::vector<float> source(kSize, 3);

  copy(memory, source.data(), stream_);
  source[0] = 5;
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);

  EXPECT_EQ(first_of(memory), 3);
}

TEST_P(SimulatedGpu, ShowsMemoryThatNobodyWrote) { EXPECT_TRUE(std::isnan(first_of(on_device()))); }

using SimulatedGpuDeathTest = SimulatedGpu;
INSTANTIATE_TEST_SUITE_P(Once, SimulatedGpuDeathTest, testing::Values(Order::kLate));

TEST_P(SimulatedGpuDeathTest, FaultsWhereTheHostReadsOrWrites) {
  float* const memory = on_device();
  EXPECT_DEATH(std::printf("%f", static_cast<double>(memory[1])), "used by the host");
  EXPECT_DEATH(memory[1] = 1, "inside a live block");
}

TEST_P(SimulatedGpuDeathTest, FaultsWhereMemoryIsUsedBehindItsEndOrAfterItsEnd) {
  float* const memory = on_device();
  const auto write_at = [this, memory](size_t place) {
    launch(0, "a kernel", [memory, place] {
      const Opened opened(0);
      memory[place] = 1;
    });
    cudaDeviceSynchronize();
  };
  write_at(kSize - 1);
  EXPECT_DEATH(write_at(kSize + 64), "no live block");
  EXPECT_DEATH(
      {
        cudaFree(memory);
        write_at(0);
      },
      "no live block");
}

TEST_P(SimulatedGpuDeathTest, EndsWhereABlockIsFreedTwice) {
  void* memory = nullptr;
  ASSERT_EQ(cudaMalloc(&memory, kBytes), cudaSuccess);
  ASSERT_EQ(cudaFree(memory), cudaSuccess);
  EXPECT_DEATH(cudaFree(memory), "no block");
}

TEST_P(SimulatedGpuDeathTest, FaultsWhereADevicesWorkUsesAnothersMemory) {
  if (n_devices() < 2) GTEST_SKIP() << "one device: run with SIMULATED_GPUS=2";
  float* const memory = on_device();
  EXPECT_DEATH(
      {
        launch(default_stream(1), "a kernel", [memory] {
          const Opened opened(1);
          memory[0] = 1;
        });
        synchronize(default_stream(1));
      },
      "another device's work");
}

TEST_P(SimulatedGpu, RefusesCopiesThatSayOtherPlacesOrGoBeyondABlock) {
  float* const memory = on_device();
  std::vector<float> host(2 * kSize);

  EXPECT_EQ(cudaMemcpy(memory, host.data(), kBytes, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(host.data(), memory, kBytes, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(memory, host.data(), 2 * kBytes, cudaMemcpyHostToDevice),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(memory, 0, kBytes + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_P(SimulatedGpu, HasNoMoreMemoryThanItSays) {
  size_t free_bytes = 0, total = 0;
  ASSERT_EQ(cudaMemGetInfo(&free_bytes, &total), cudaSuccess);
  void* memory = nullptr;

  EXPECT_EQ(cudaMalloc(&memory, free_bytes + 1), cudaErrorMemoryAllocation);

  EXPECT_EQ(memory, nullptr);
  EXPECT_EQ(total, memory_of_device());
}

TEST_P(SimulatedGpu, ReplaysAGraphWithWhatMemoryHoldsThen) {
  float* const memory = on_device();
  float* const source = pinned(3);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;

  ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), cudaSuccess);
  copy(memory, source, stream_);
  ASSERT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  EXPECT_TRUE(std::isnan(first_of(memory))) << "a capture runs nothing";
  for (const float value : {4.0F, 5.0F}) {
    source[0] = value;
    EXPECT_EQ(cudaGraphLaunch(executable, stream_), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    EXPECT_EQ(first_of(memory), value);
  }

  EXPECT_EQ(cudaGraphExecDestroy(executable), cudaSuccess);
}

TEST_P(SimulatedGpu, KeepsInAGraphWhatAnotherStreamDoesThatJoined) {
  float* const memory = on_device();
  float* const copy_of_it = on_device();
  cudaEvent_t forked = nullptr, joined = nullptr;
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaEventCreate(&forked), cudaSuccess);
  ASSERT_EQ(cudaEventCreate(&joined), cudaSuccess);

  ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), cudaSuccess);
  copy(memory, pinned(3), stream_);
  ASSERT_EQ(cudaEventRecord(forked, stream_), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(other_, forked, 0), cudaSuccess);
  copy(copy_of_it, memory, other_);
  ASSERT_EQ(cudaEventRecord(joined, other_), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(stream_, joined, 0), cudaSuccess);
  ASSERT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
  size_t n_nodes = 0;
  ASSERT_EQ(cudaGraphGetNodes(graph, nullptr, &n_nodes), cudaSuccess);
  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(executable, stream_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);

  EXPECT_EQ(n_nodes, 2u);
  EXPECT_EQ(first_of(copy_of_it), 3);
}

TEST_P(SimulatedGpu, RefusesWhatACaptureDoesNotAllow) {
  float* const memory = on_device();
  std::vector<float> host(kSize);
  void* more = nullptr;
  cudaEvent_t event = nullptr;
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaEventCreate(&event), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), cudaSuccess);

  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaStreamQuery(stream_), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaMalloc(&more, kBytes), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaMemcpyAsync(memory, host.data(), kBytes, cudaMemcpyHostToDevice, stream_),
            cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaEventRecord(event, stream_), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(event), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaStreamWaitEvent(other_, event, 0), cudaSuccess);  // joins ...
  copy(memory, pinned(1), other_);
  EXPECT_EQ(cudaStreamEndCapture(stream_, &graph),
            cudaErrorStreamCaptureUnsupported);  // ... for ever
  EXPECT_EQ(graph, nullptr);
}

TEST_P(SimulatedGpu, CountsCopiesBytesAndWaits) {
  float* const memory = on_device();
  float* const host = pinned(1);
  const Counters before = counters();

  copy(memory, host, stream_);
  copy(host, memory, stream_);
  cudaStreamSynchronize(stream_);

  EXPECT_EQ(counters().copies_to_device - before.copies_to_device, 1);
  EXPECT_EQ(counters().bytes_to_host - before.bytes_to_host, static_cast<int64_t>(kBytes));
  EXPECT_EQ(counters().host_waits - before.host_waits, 1);
}

}  // namespace
}  // namespace orrery::simulated_gpu
