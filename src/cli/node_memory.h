// Whether what the workers will hold fits into the memory that there is. Local.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "job.h"
#include "memory_plan.h"

namespace orrery::cli {

/// Of a node, in bytes, and who says so.
struct NodeMemory {
  int64_t bytes = 0;
  std::string source;  ///< such as `this machine's`
};

/// What this process may use of this machine: all of it, or the limit of its control group.
NodeMemory memory_of_this_machine();

/// A line on what all workers need and on what a node has; where that does not fit, how many
/// workers do, and which keys to lower, largest part first.
std::string fit_text(const Job& job, const std::vector<WorkerMemory>& workers,
                     const NodeMemory& node);

}  // namespace orrery::cli
