// What `orrery doctor` makes of the GPUs of a job: pure functions from what ranks see to lines with
// what to do.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "doctor_finding.h"

namespace orrery::cli {

/// Text into a part of what ranks send, cut where it is too long.
template <size_t n>
void store(std::array<char, n>& chars, const std::string& text) {
  const size_t size = std::min(text.size(), n - 1);
  std::copy_n(text.begin(), size, chars.begin());
}

/// What one rank sees of GPUs. Plain bytes: a part of RankFacts, which travels by MPI_Gather.
struct GpuFacts {
  int64_t n_on_bus = 0;         ///< NVIDIA's, on the node's PCI bus
  int64_t n_of_driver = 0;      ///< as the driver shows them to the node
  int64_t n_visible = 0;        ///< as CUDA shows them to this process
  int64_t n_mig_instances = 0;  ///< parts that GPUs of the node are cut into
  int64_t driver_cuda = 0;    ///< the newest that the driver can run, 13000 for 13.0; 0: no driver
  int64_t runtime_cuda = 0;   ///< that the program was started with
  int64_t nccl = 0;           ///< that the program was started with, 22809 for 2.28.9
  int64_t nccl_of_build = 0;  ///< that it was compiled with
  int64_t may_run_near = 1;   ///< 0: on none of the cores near its own GPU
  double to_gpu_bytes_per_s = 0;                ///< from pinned memory of the host; 0: not measured
  double to_host_bytes_per_s = 0;               ///< likewise
  std::array<char, 32> driver = {};             ///< release, `580.65.06`; empty: no driver
  std::array<char, 64> visible_devices = {};    ///< CUDA_VISIBLE_DEVICES; empty: not set
  std::array<char, 160> why_none = {};          ///< what CUDA says where it shows none
  std::array<char, 160> place = {};             ///< of a worker's own GPU; empty: it has none
  std::array<char, 192> libtorch_problem = {};  ///< why LibTorch's CUDA half does not load
};

/// How the program is built, for what a build without CUDA cannot use.
enum class GpuSupport { kBuiltIn, kLeftOut };

/// The workers of a node, each with what it sees; of a node that has none, the master.
struct GpuNode {
  std::string host;
  std::vector<const GpuFacts*> workers;
};

std::vector<Finding> judge_gpus(const GpuNode& node, GpuSupport support);

/// Nothing where all nodes have GPUs for their workers, or none has any.
std::vector<Finding> judge_mixed_nodes(std::span<const GpuNode> nodes, GpuSupport support);

}  // namespace orrery::cli
