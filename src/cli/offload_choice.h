// What goes to the host while it is idle, where the configuration leaves that to the program.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gpu_memory_plan.h"
#include "job.h"

namespace orrery::cli {

/// What was chosen for a role with offload = auto that has something to offload.
struct OffloadChoice {
  std::string role;
  bool is_offloaded = false;
  std::string reason;

  /// `model.ref.offload = when_idle (auto): with its parameters (15.2 GB) actor_train would take
  /// ...`
  std::string text() const;
};

/// Replaces `auto` in model.X.offload by when_idle where a phase would take more than a GPU has
/// with what the role has there, by what the program takes (PhaseMemory::of_the_program), else by
/// never. The largest roles are the first to stay, while those behind them are offloaded. Pure.
std::vector<OffloadChoice> choose_offload(Job& job, const GpuMemory& gpu);

}  // namespace orrery::cli
