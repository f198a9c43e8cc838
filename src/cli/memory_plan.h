// What each worker will hold, from sizes alone: no tensor is made, no data is read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "job.h"

namespace orrery::cli {

/// Of one worker, without activations and samples.
struct WorkerMemory {
  std::vector<std::string> replicas;  ///< such as `actor.0 (trained)`, those with parameters
  int64_t n_parameters = 0;
  int64_t parameter_bytes = 0;
  /// Gradients, and of the owned partition the two moments of AdamW and the master weights of bf16.
  int64_t training_bytes = 0;
  /// At most, while a generate call or an evaluation runs: packed weights and the pages of keys and
  /// values of the longest prompts and answers that the configuration allows.
  int64_t generation_bytes = 0;
};

/// One entry for each worker. Pure; local.
std::vector<WorkerMemory> plan_memory(const Job& job);

/// As a table, equal workers in one line.
std::string memory_text(const std::vector<WorkerMemory>& workers);

}  // namespace orrery::cli
