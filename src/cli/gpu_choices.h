// What the configuration leaves to the program about the memory of GPUs: one function for `orrery
// plan` and for the run itself.
#pragma once

#include <string>
#include <vector>

#include "gpu_memory_plan.h"
#include "job.h"

namespace orrery::cli {

/// Replaces `auto` in model.X.offload, then in model.X.recompute_layers: a copy costs less than a
/// layer that runs again. Pages of keys and values get what is left then. A line for each choice,
/// with its reason. Pure.
std::vector<std::string> choose_for_gpus(Job& job, const GpuMemory& gpu);

}  // namespace orrery::cli
