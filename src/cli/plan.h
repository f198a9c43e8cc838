// What `orrery plan` prints.
#pragma once

#include <optional>
#include <string>

#include "job.h"
#include "node_memory.h"

namespace orrery::cli {

/// Graph, levels, layouts, workers, communicators, parameter hooks, and, of a run on CPUs,
/// parameters and memory beside that of a node. Pure.
std::string plan_text(const Job& job, const std::optional<NodeMemory>& node);

}  // namespace orrery::cli
