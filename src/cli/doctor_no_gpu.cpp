#include "doctor_gpu.h"

namespace orrery::cli {

GpuSupport gpu_support() { return GpuSupport::kLeftOut; }

std::string nccl_version() { return "left out (a build without CUDA)"; }

void look_at_gpus(const CommandRanks&, GpuFacts&) {}

void measure_copies(const CommandRanks&, GpuFacts&) {}

std::vector<Link> measure_nccl(const CommandRanks&, int64_t, double) { return {}; }

}  // namespace orrery::cli
