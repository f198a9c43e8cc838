// Which device and which backend a worker takes.
#include "orrery/worker/model_device.h"

#include <gtest/gtest.h>

#include <iostream>

#include "orrery/base/error.h"
#include "orrery/kernels/gpu.h"
#include "support/thread_communicator.h"

namespace orrery::worker {
namespace {

TEST(ModelDevice, IsTheCpuWhereThereIsNoGpu) {
  const ModelDevice device =
      choose_model_device({.n_gpus = 0, .local_worker = 3, .models_run_on_gpus = true});
  EXPECT_FALSE(device.gpu.has_value());
  EXPECT_EQ(device.remark, "");
}

TEST(ModelDevice, IsTheGpuOfTheWorkersPlaceOnItsNode) {
  const ModelDevice device =
      choose_model_device({.n_gpus = 8, .local_worker = 5, .models_run_on_gpus = true});
  EXPECT_EQ(device.gpu, 5);
}

TEST(ModelDevice, SaysThatGpusAreLeftIdle) {
  const ModelDevice device =
      choose_model_device({.n_gpus = 2, .local_worker = 0, .models_run_on_gpus = false});
  EXPECT_FALSE(device.gpu.has_value());
  EXPECT_NE(device.remark.find("2 GPU(s) found and left idle"), std::string::npos);
}

TEST(ModelDevice, IsRefusedToMoreWorkersThanGpus) {
  try {
    choose_model_device({.n_gpus = 2, .local_worker = 2, .models_run_on_gpus = true});
    FAIL() << "a GPU was given to two workers";
  } catch (const CallError& error) {
    EXPECT_NE(std::string(error.what()).find("2 GPU(s)"), std::string::npos) << error.what();
  }
}

TEST(ModelDevice, OnTheCpuKeepsTheGroupItHas) {
  comm::run_as_threads(2, [](comm::Communicator& all) {
    auto workers = all.split(0, all.rank(), "workers");
    const comm::Communicator* const before = workers.get();
    const auto group = group_for({}, std::move(workers));
    EXPECT_EQ(group.get(), before);
    EXPECT_EQ(group->device_type(), at::kCPU);
  });
}

TEST(ModelDevice, OnGpusHasTheSameRanksOverNccl) {
  if (kernels::gpu_count() == 0) {
    std::cerr << "NOT RUN OVER NCCL: " << kernels::why_no_gpu() << "\n";
    GTEST_SKIP() << "NCCL was not tested: " << kernels::why_no_gpu();
  }
  comm::run_as_threads(kernels::gpu_count(), [](comm::Communicator& all) {
    const auto group =
        group_for({.gpu = all.rank(), .remark = {}}, all.split(0, all.rank(), "workers"));
    EXPECT_EQ(group->device_type(), at::kCUDA);
    EXPECT_EQ(group->rank(), all.rank());
    EXPECT_EQ(group->name(), "workers");
  });
}

}  // namespace
}  // namespace orrery::worker
