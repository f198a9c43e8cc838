// How many keys and values of generation have room on GPUs, where the configuration leaves that to
// the program.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gpu_memory_plan.h"
#include "job.h"

namespace orrery::cli {

/// Of a GPU's memory, what pages leave alone: what LibTorch's allocator cannot give on in pieces.
inline constexpr double kPageReserve = 0.05;

/// What was chosen for a generate call that does not say max_cache_tokens.
struct PageChoice {
  std::string call;
  int64_t max_cache_tokens = 0;
  std::string reason;

  /// `call.actor_gen.max_cache_tokens = 98304 (auto): ...`
  std::string text() const;
};

/// Sets max_cache_tokens of the generate calls that have 0 where the longest prompts and answers in
/// every place would need more pages than there is room for beside all else that the plan counts:
/// to what has room on every worker of the call, one sequence at least. Calls that fit keep 0.
/// After what else is left to the program has been chosen. Pure.
std::vector<PageChoice> choose_pages(Job& job, const GpuMemory& gpu);

}  // namespace orrery::cli
