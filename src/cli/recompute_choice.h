// How many layers run again in backward, where the configuration leaves that to the program.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gpu_memory_plan.h"
#include "job.h"

namespace orrery::cli {

/// What was chosen for a trained role with recompute_layers = auto.
struct RecomputeChoice {
  std::string role;
  int64_t n_recomputed = 0;  ///< of each stage
  int64_t n_layers = 0;      ///< of the largest stage
  std::string reason;

  /// `model.actor.recompute_layers = 12 of 28 (auto): ...`
  std::string text() const;
};

/// Replaces `auto` in model.X.recompute_layers of every trained role by the fewest layers with
/// which no phase outgrows a GPU that it fits into with all of them, by what the program takes as
/// it is (PhaseMemory::of_the_program); by all of them where the role's own train_step does not fit
/// even so. Of several roles one after another, while those behind recompute all. Pure.
std::vector<RecomputeChoice> choose_recompute_layers(Job& job, const GpuMemory& gpu);

}  // namespace orrery::cli
