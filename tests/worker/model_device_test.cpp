// Which device and which backend a worker takes.
#include "orrery/worker/model_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>

#include "orrery/base/error.h"
#include "orrery/kernels/gpu.h"
#include "support/thread_communicator.h"

namespace orrery::worker {
namespace {

const WorkerGpus kNone{.host = "node1", .why_none = "the driver is too old"};

WorkerGpus of_eight(int local_worker) {
  return {.host = "node2", .local_worker = local_worker, .n_gpus = 8};
}

TEST(ModelDevice, IsTheGpuOfTheWorkersPlaceOnItsNode) {
  EXPECT_EQ(choose_model_device("auto", of_eight(5)), c10::Device(c10::kCUDA, 5));
}

TEST(ModelDevice, IsTheCpuWhereThereIsNoGpuOrThatIsWanted) {
  EXPECT_TRUE(choose_model_device("auto", kNone).is_cpu());
  EXPECT_TRUE(choose_model_device("cpu", of_eight(5)).is_cpu());
}

/// The error's text; empty: none.
std::string refusal_of(const std::string& wanted, const std::vector<WorkerGpus>& workers) {
  try {
    check_gpus(wanted, workers);
    return "";
  } catch (const ConfigError& error) {
    return error.what();
  }
}

TEST(ModelDevice, IsOfOneKindForAllWorkers) {
  EXPECT_EQ(refusal_of("auto", {kNone, kNone}), "");
  EXPECT_EQ(refusal_of("auto", {of_eight(0), of_eight(7)}), "");
  EXPECT_EQ(refusal_of("cpu", {of_eight(0), kNone}), "");
  EXPECT_THAT(refusal_of("auto", {of_eight(0), kNone}),
              testing::HasSubstr("none for worker 1 on node1: the driver is too old"));
}

TEST(ModelDevice, IsRefusedToMoreWorkersThanGpus) {
  EXPECT_THAT(refusal_of("auto", {of_eight(7), of_eight(8)}),
              testing::HasSubstr("worker 1 on node2: the node has 8 GPUs, this is its worker 9"));
}

TEST(ModelDevice, IsRefusedWithTheReasonWhereAGpuIsWantedAndThereIsNone) {
  EXPECT_THAT(refusal_of("cuda", {kNone}), testing::HasSubstr("the driver is too old"));
}

TEST(ModelDevice, OnTheCpuKeepsTheGroupItHas) {
  comm::run_as_threads(2, [](comm::Communicator& all) {
    auto workers = all.split(0, all.rank(), "workers");
    const comm::Communicator* const before = workers.get();
    const auto group = group_for(c10::kCPU, std::move(workers));
    EXPECT_EQ(group.get(), before);
    EXPECT_FALSE(group->carries(at::kCUDA));
  });
}

TEST(ModelDevice, OnGpusHasTheSameRanksForTensorsOfBoth) {
  if (kernels::gpu_count() == 0) {
    std::cerr << "NOT RUN OVER NCCL: " << kernels::why_no_gpu() << "\n";
    GTEST_SKIP() << "NCCL was not tested: " << kernels::why_no_gpu();
  }
  comm::run_as_threads(kernels::gpu_count(), [](comm::Communicator& all) {
    const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(all.rank()));
    const auto group = group_for(device, all.split(0, all.rank(), "workers"));
    EXPECT_TRUE(group->carries(at::kCPU));
    EXPECT_TRUE(group->carries(at::kCUDA));
    EXPECT_EQ(group->rank(), all.rank());
    EXPECT_EQ(group->name(), "workers");
  });
}

}  // namespace
}  // namespace orrery::worker
