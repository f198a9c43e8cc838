// What `orrery plan` prints.
#pragma once

#include <string>

#include "job.h"
#include "node_memory.h"

namespace orrery::cli {

/// Graph, levels, layouts, workers, communicators, parameter hooks, parameters and memory. Pure.
std::string plan_text(const Job& job, const NodeMemory& node);

}  // namespace orrery::cli
