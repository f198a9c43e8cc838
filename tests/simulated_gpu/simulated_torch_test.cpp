// That LibTorch on the simulated GPU computes what it computes on a CPU, however late its streams
// run, and that what a program can do wrong with it is seen. Each mistake is planted as a program
// would make it.
#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <string>

#include "memory.h"
#include "orders_for_test.h"
#include "rules.h"
#include "streams.h"

namespace orrery::simulated_gpu {
namespace {

const at::TensorOptions kGpu = at::TensorOptions().device(at::kCUDA, 0);

at::Tensor numbers(int64_t n) { return (at::arange(n, at::kDouble) * 0.37).sin().to(at::kFloat); }

class SimulatedTorch : public testing::TestWithParam<Order> {
 protected:
  void SetUp() override {
    set_order(GetParam());
    take_broken_rules();
  }
  void TearDown() override {
    cudaDeviceSynchronize();
    EXPECT_EQ(take_broken_rules(), std::vector<std::string>());
  }
  static bool is_late() { return GetParam() != Order::kEager; }

  template <class Work>
  static std::string error_of(const Work& work) {
    try {
      work();
    } catch (const std::exception& error) {
      return error.what();
    }
    return "no error";
  }
};

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

INSTANTIATE_TEST_SUITE_P(EveryOrder, SimulatedTorch, kEveryOrder, name_of);

TEST_P(SimulatedTorch, ComputesWhatTheCpuComputesWithGradients) {
  const auto loss_of = [](at::Tensor& x, at::Device device) {
    x = numbers(12).view({3, 4}).to(device).set_requires_grad(true);
    const at::Tensor weight = numbers(8).view({4, 2}).to(device);
    const at::Tensor loss = (at::mm(x, weight).exp() * 0.5).clamp_max(1.2).sum();
    torch::autograd::backward({loss}, {});
    return loss.detach();
  };
  at::Tensor here, there;
  const at::Tensor expected = loss_of(here, at::kCPU);
  const at::Tensor got = loss_of(there, at::Device(at::kCUDA, 0));

  EXPECT_TRUE(at::equal(got.cpu(), expected));
  EXPECT_TRUE(at::equal(there.grad().cpu(), here.grad()));
}

TEST_P(SimulatedTorch, RefusesAnOperatorThatIsNotOnTheListByItsName) {
  const at::Tensor x = numbers(4).to(at::kCUDA);
  EXPECT_HAS(error_of([&] { at::digamma(x); }), "aten::digamma.out is not on the list");
}

TEST_P(SimulatedTorch, RefusesWhatLibTorchRefuses) {
  const at::Tensor x = numbers(4).to(at::kCUDA), square = x.view({2, 2});
  EXPECT_HAS(error_of([&] { x.add(numbers(4)); }), "same device");
  EXPECT_HAS(error_of([&] { x.add(numbers(4).to(at::Device(at::kCUDA, 1))); }), "same device");
  EXPECT_HAS(error_of([&] { at::mm(square, square.to(at::kBFloat16)); }), "dtype");
  EXPECT_HAS(error_of([&] { at::mm(square, x); }), "must be a matrix");
  EXPECT_HAS(error_of([&] { x.add(numbers(3).to(at::kCUDA)); }), "must match the size");
  EXPECT_HAS(error_of([&] {
               at::Tensor whole = at::empty({4}, kGpu.dtype(at::kLong));
               at::add_out(whole, x, x);
             }),
             "can't be cast");
  EXPECT_HAS(error_of([&] { square.t().view({4}); }), "not compatible");
}

TEST_P(SimulatedTorch, CountsKernelsAndWhatTheHostReads) {
  const at::Tensor x = numbers(4).to(at::kCUDA);
  const Counters before = counters();

  const at::Tensor y = x + 1;
  const Counters after = counters();
  EXPECT_EQ(after.kernels - before.kernels, 1);
  EXPECT_EQ(after.host_waits, before.host_waits) << "a kernel is not waited for";

  y[0].item<float>();
  y.cpu();
  at::nonzero(y);
  EXPECT_EQ(counters().host_reads - after.host_reads, 3) << "item, a copy, a size from numbers";
  EXPECT_EQ(counters().host_waits - after.host_waits, 3);
  EXPECT_EQ(counters().bytes_to_host - after.bytes_to_host, 16);
}

TEST_P(SimulatedTorch, ShowsMemoryThatNobodyWroteAlsoWhereItIsGivenASecondTime) {
  const void* first = nullptr;
  {
    const at::Tensor x = at::full({1000}, 3.0, kGpu);
    first = x.const_data_ptr();
  }
  const at::Tensor again = at::empty({1000}, kGpu);

  ASSERT_EQ(again.const_data_ptr(), first) << "the allocator gives it again";
  EXPECT_TRUE(again.cpu().isnan().all().item<bool>());
}

TEST_P(SimulatedTorch, ShowsMemoryThatAnotherStreamStillNeeded) {
  for (const bool is_recorded : {true, false}) {
    const auto side = c10::cuda::getStreamFromPool();
    at::Tensor result;
    {
      const at::Tensor x = at::full({100000}, 3.0, kGpu);
      cudaDeviceSynchronize();
      const c10::cuda::CUDAStreamGuard guard(side);
      result = x + 1;
      if (is_recorded) x.record_stream(side);
    }
    const at::Tensor other = at::full({100000}, 7.0, kGpu);
    other.cpu();
    side.synchronize();
    const c10::cuda::CUDAStreamGuard guard(side);

    EXPECT_EQ(result[0].item<float>(), is_recorded || !is_late() ? 4 : 8);
  }
}

TEST_P(SimulatedTorch, ShowsThatAnEventBetweenStreamsIsMissing) {
  for (const bool waits : {true, false}) {
    const at::Tensor x = at::full({4}, 1.0, kGpu);
    cudaDeviceSynchronize();
    const auto side = c10::cuda::getStreamFromPool();
    cudaEvent_t written = nullptr;
    cudaEventCreate(&written);

    x.add_(1);
    cudaEventRecord(written, c10::cuda::getCurrentCUDAStream().stream());
    if (waits) cudaStreamWaitEvent(side.stream(), written, 0);
    const c10::cuda::CUDAStreamGuard guard(side);

    EXPECT_EQ(x[0].item<float>(), waits || !is_late() ? 2 : 1);
  }
}

TEST_P(SimulatedTorch, ShowsPinnedMemoryThatIsUsedBeforeItsCopyIsDone) {
  const at::Tensor source = at::full({4}, 3.0).pin_memory();
  const at::Tensor x = source.to(kGpu, /*non_blocking=*/true);
  source.fill_(5);
  EXPECT_EQ(x[0].item<float>(), is_late() ? 5 : 3);

  const at::Tensor result = at::zeros({4}).pin_memory();
  result.copy_(x, /*non_blocking=*/true);
  EXPECT_EQ(result.isnan().all().item<bool>(), is_late());
}

TEST_P(SimulatedTorch, FreesPinnedMemoryWhenItsCopiesAreDone) {
  const at::Tensor x = at::full({4}, 3.0, kGpu);
  const void* memory = nullptr;
  {
    const at::Tensor result = at::zeros({4}).pin_memory();
    result.copy_(x, /*non_blocking=*/true);
    memory = result.const_data_ptr();
  }
  EXPECT_EQ(is_pinned(memory), is_late());
  cudaDeviceSynchronize();
  EXPECT_FALSE(is_pinned(memory));
}

/// Captures `work` on a stream of its own.
template <class Work>
cudaError_t capture(const c10::cuda::CUDAStream& stream, cudaGraphExec_t& executable,
                    const Work& work) {
  const c10::cuda::CUDAStreamGuard guard(stream);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamBeginCapture(stream.stream(), cudaStreamCaptureModeThreadLocal), cudaSuccess);
  work();
  const cudaError_t error = cudaStreamEndCapture(stream.stream(), &graph);
  if (error == cudaSuccess) cudaGraphInstantiate(&executable, graph, 0);
  return error;
}

TEST_P(SimulatedTorch, ReplaysOperatorsOnWhatMemoryHoldsThenWithHostNumbersBakedIn) {
  const at::Tensor x = at::zeros({4}, kGpu), y = at::zeros({4}, kGpu);
  double factor = 2;
  cudaDeviceSynchronize();
  const auto stream = c10::cuda::getStreamFromPool();
  cudaGraphExec_t graph = nullptr;

  ASSERT_EQ(capture(stream, graph,
                    [&] {
                      at::Tensor out = y;
                      at::mul_out(out, x, at::scalar_tensor(factor));
                    }),
            cudaSuccess);
  factor = 100;  // the mistake: a graph does not read it again
  x.fill_(3);
  cudaDeviceSynchronize();
  ASSERT_EQ(cudaGraphLaunch(graph, stream.stream()), cudaSuccess);
  stream.synchronize();

  EXPECT_EQ(y[0].item<float>(), 6);
}

TEST_P(SimulatedTorch, RefusesInACaptureWhatWaitsOrReadsUnpinnedMemory) {
  const at::Tensor x = at::zeros({4}, kGpu), host = at::zeros({4});
  cudaDeviceSynchronize();
  const auto stream = c10::cuda::getStreamFromPool();
  cudaGraphExec_t graph = nullptr;
  ASSERT_EQ(capture(stream, graph,
                    [&] {
                      EXPECT_HAS(error_of([&] { x[0].item<float>(); }), "being captured");
                      EXPECT_HAS(error_of([&] { at::nonzero(x); }), "being captured");
                      EXPECT_HAS(error_of([&] { x.cpu(); }), "inside a capture");
                      EXPECT_HAS(error_of([&] { x.copy_(host); }), "inside a capture");
                      EXPECT_HAS(error_of([&] { stream.synchronize(); }), "capturing");
                    }),
            cudaSuccess);
  cudaGetLastError();
}

TEST_P(SimulatedTorch, SeesANumberThatIsFoundWrongOnlyWhenItsStreamComesToIt) {
  const at::Tensor table = at::zeros({4, 2}, kGpu);
  const at::Tensor row = at::full({1}, 9, kGpu.dtype(at::kLong));
  const std::string error = error_of([&] {
    const at::Tensor picked = table.index_select(0, row);
    picked.cpu();
  });
  EXPECT_HAS(error, "out of range");
  const std::vector<std::string> broken = take_broken_rules();
  ASSERT_EQ(broken.size(), 1u);
  EXPECT_HAS(broken[0], "aten::index_select");
}

TEST(SimulatedTorchDeathTest, FaultsWhereTheHostTakesATensorsPointer) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const at::Tensor x = at::ones({4}, kGpu);
  EXPECT_DEATH(std::printf("%f", static_cast<double>(x.const_data_ptr<float>()[0])),
               "used by the host");
}

}  // namespace
}  // namespace orrery::simulated_gpu
