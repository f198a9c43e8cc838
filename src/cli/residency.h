// What of each role a run keeps on the host while it is idle, as `model.X.offload` says.
#pragma once

#include <set>
#include <string>

#include "job.h"
#include "orrery/graph/replica.h"

namespace orrery::cli {

/// What of a role can be on the host while other calls run.
enum class IdlePart {
  kNothing,     ///< other calls read it or write to it between its own, or it has no parameters
  kParameters,  ///< of a role that nothing changes
  kOptimizer    ///< master weights and moments, outside the role's train_step
};

IdlePart idle_part_of(const Job& job, const std::string& role);

/// The roles with offload = when_idle that have such a part; `auto` that nobody has replaced is
/// never. The same on all ranks.
graph::ResidencyPolicy residency_of(const Job& job);

/// Those that have one and stay as they are.
std::set<std::string> kept_though_idle(const Job& job);

}  // namespace orrery::cli
