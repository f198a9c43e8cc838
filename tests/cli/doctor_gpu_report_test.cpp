// What `orrery doctor` says of GPUs, and what to do about each fault.
#include "doctor_gpu_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

using testing::HasSubstr;

/// A node of eight GPUs where all is well.
GpuFacts eight() {
  GpuFacts gpus;
  gpus.n_on_bus = gpus.n_of_driver = gpus.n_visible = 8;
  gpus.driver_cuda = 13000;
  gpus.runtime_cuda = 13000;
  gpus.nccl = gpus.nccl_of_build = 22809;
  store(gpus.driver, "580.65.06");
  store(gpus.place, "0000:3b:00.0, near cores 0-3, network mlx5_1 (same PCI switch)");
  gpus.to_gpu_bytes_per_s = 25e9;
  gpus.to_host_bytes_per_s = 26e9;
  return gpus;
}

GpuNode node_of(const GpuFacts& gpus, size_t n_workers) {
  return {.host = "n0", .workers = std::vector<const GpuFacts*>(n_workers, &gpus)};
}

/// All lines of one worker, each as `health what: value -> advice`.
std::string judged(const GpuFacts& gpus, size_t n_workers = 1,
                   GpuSupport support = GpuSupport::kBuiltIn) {
  std::string text;
  for (const Finding& finding : judge_gpus(node_of(gpus, n_workers), support)) {
    const char* const health = finding.health == Health::kFine      ? "fine "
                               : finding.health == Health::kWarning ? "warning "
                                                                    : "failure ";
    text += health + finding.what + ": " + finding.value +
            (finding.advice.empty() ? "" : " -> " + finding.advice) + "\n";
  }
  return text;
}

TEST(DoctorGpus, PrintsVersionsAndPlaceWhereAllIsWell) {
  EXPECT_EQ(judged(eight()),
            "fine GPUs of n0: 8 for 1 worker\n"
            "fine CUDA of n0: driver 580.65.06 up to CUDA 13.0, runtime 13.0\n"
            "fine NCCL of n0: 2.28.9\n"
            "fine a GPU of n0: 0000:3b:00.0, near cores 0-3, network mlx5_1 (same PCI switch)\n"
            "fine copies of the slowest GPU of n0: to it 25.00 GB/s, to the host 26.00 GB/s\n");
}

TEST(DoctorGpus, AreSaidToCopySlowlyWhereOneOfThemDoes) {
  GpuFacts slow = eight();
  slow.to_host_bytes_per_s = 3e9;
  const GpuFacts good = eight();
  const std::vector<Finding> findings =
      judge_gpus({.host = "n0", .workers = {&good, &slow, &good}}, GpuSupport::kBuiltIn);

  EXPECT_EQ(findings.back().health, Health::kWarning);
  EXPECT_THAT(findings.back().value, HasSubstr("to the host 3.00 GB/s"));
  EXPECT_THAT(findings.back().advice, testing::AllOf(HasSubstr("GPU 1 "), HasSubstr("pcie.link")));
}

TEST(DoctorGpus, HaveNoLineOfCopiesThatNobodyMeasured) {
  GpuFacts gpus = eight();
  gpus.to_gpu_bytes_per_s = gpus.to_host_bytes_per_s = 0;
  EXPECT_THAT(judged(gpus), testing::Not(HasSubstr("copies")));
}

TEST(DoctorGpus, AreNotMissedOnANodeWithoutAny) {
  EXPECT_EQ(judged({}), "fine GPUs of n0: none: ranks compute on CPUs\n");
}

TEST(DoctorGpus, WantABuildThatCanUseThem) {
  EXPECT_THAT(judged(eight(), 2, GpuSupport::kLeftOut),
              testing::AllOf(HasSubstr("warning GPUs of n0: 8 for 2 workers"),
                             HasSubstr("tools/setup.sh --cuda=13")));
}

TEST(DoctorGpus, WantADriverWhereThereIsNone) {
  GpuFacts gpus;
  gpus.n_on_bus = 4;
  gpus.runtime_cuda = 13000;
  EXPECT_EQ(judged(gpus),
            "warning GPUs of n0: none of 4: ranks compute on CPUs -> there is no NVIDIA driver. "
            "CUDA 13 needs an NVIDIA driver of 580 or newer\n");
  gpus.runtime_cuda = 12080;
  EXPECT_THAT(judged(gpus), HasSubstr("CUDA 12 needs an NVIDIA driver of 525 or newer"));
}

TEST(DoctorGpus, WantADriverOfTheCudaRelease) {
  GpuFacts gpus = eight();
  gpus.n_visible = 0;
  gpus.driver_cuda = 12040;
  gpus.driver = {};
  store(gpus.driver, "550.54.15");
  EXPECT_EQ(judged(gpus),
            "warning GPUs of n0: none of 8: ranks compute on CPUs\n"
            "warning CUDA of n0: driver 550.54.15 up to CUDA 12.4, runtime 13.0 -> no GPU will be "
            "used: CUDA 13 needs an NVIDIA driver of 580 or newer. Install one, or build with "
            "tools/setup.sh --cuda=12 (525 or newer)\n");
}

TEST(DoctorGpus, TakeADriverOfTheSameCudaReleaseThatIsOlderThanTheRuntime) {
  GpuFacts gpus = eight();
  gpus.driver_cuda = 12000;
  gpus.runtime_cuda = 12080;
  EXPECT_THAT(judged(gpus), testing::Not(HasSubstr("warning")));
}

TEST(DoctorGpus, ThatAreHiddenAreNamedWithWhoHidesThem) {
  GpuFacts gpus = eight();
  gpus.n_visible = 2;
  EXPECT_THAT(judged(gpus, 2), HasSubstr("fine GPUs of n0: 2 of 8 for 2 workers\n"));
  EXPECT_THAT(judged(gpus, 4), HasSubstr("failure GPUs of n0: 2 of 8 for 4 workers -> the batch "
                                         "system or container gives this job no more"));
  store(gpus.visible_devices, "0,1");
  EXPECT_THAT(judged(gpus, 4), HasSubstr("-> CUDA_VISIBLE_DEVICES=0,1 hides the others"));
  gpus.n_visible = 1;
  gpus.n_mig_instances = 14;
  EXPECT_THAT(judged(gpus, 4), HasSubstr("-> MIG cuts the GPUs into 14 instances"));
}

TEST(DoctorGpus, ThatCudaShowsNoneOfComeWithItsReason) {
  GpuFacts gpus = eight();
  gpus.n_visible = 0;
  store(gpus.why_none, "no GPU found: no CUDA-capable device is detected");
  store(gpus.visible_devices, "-1");
  EXPECT_THAT(
      judged(gpus),
      HasSubstr("warning GPUs of n0: none of 8: ranks compute on CPUs -> no GPU found: no "
                "CUDA-capable device is detected; CUDA_VISIBLE_DEVICES=-1 hides the others"));
}

TEST(DoctorGpus, AreForOneWorkerEach) {
  EXPECT_THAT(judged(eight(), 9),
              HasSubstr("failure GPUs of n0: 8 for 9 workers -> a GPU serves one worker"));
}

TEST(DoctorGpus, WantNoOlderNcclThanTheProgramWasCompiledWith) {
  GpuFacts gpus = eight();
  gpus.nccl = 21805;
  EXPECT_THAT(judged(gpus), HasSubstr("warning NCCL of n0: 2.18.5 -> the program was compiled with "
                                      "2.28.9: an older one is found first"));
  gpus.nccl = 23203;
  EXPECT_THAT(judged(gpus), HasSubstr("fine NCCL of n0: 2.32.3\n"));
}

TEST(DoctorGpus, WantLibTorchsCudaHalf) {
  GpuFacts gpus = eight();
  store(gpus.libtorch_problem, "libcudnn.so: cannot open shared object file");
  EXPECT_THAT(judged(gpus),
              HasSubstr("failure LibTorch's CUDA half on n0: libcudnn.so: cannot open "
                        "shared object file -> install what it needs"));
}

TEST(DoctorGpus, WantTheirWorkersNear) {
  GpuFacts gpus = eight();
  gpus.may_run_near = 0;
  EXPECT_THAT(judged(gpus), HasSubstr("srun --cpu-bind=none"));
}

TEST(DoctorGpus, AreOnAllNodesOrOnNone) {
  const GpuFacts with = eight();
  const GpuFacts without;
  std::vector<GpuNode> nodes = {node_of(with, 1), node_of(without, 1)};
  nodes[1].host = "n1";
  const std::vector<Finding> mixed = judge_mixed_nodes(nodes, GpuSupport::kBuiltIn);
  ASSERT_EQ(mixed.size(), 1u);
  EXPECT_EQ(mixed[0].health, Health::kFailure);
  EXPECT_EQ(mixed[0].value, "none on n1");
  EXPECT_TRUE(judge_mixed_nodes(nodes, GpuSupport::kLeftOut).empty());
  EXPECT_TRUE(judge_mixed_nodes(std::span(nodes).first(1), GpuSupport::kBuiltIn).empty());
  EXPECT_TRUE(judge_mixed_nodes(std::span(nodes).last(1), GpuSupport::kBuiltIn).empty());
}

}  // namespace
}  // namespace orrery::cli
