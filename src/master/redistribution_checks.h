// What every redistribution pattern demands of its problem.
#pragma once

#include <span>

#include "orrery/master/redistribution.h"

namespace orrery::master {

/// Throws CallError when a key appears twice, or a need names a worker or slot that there is not,
/// or one worker twice. Local.
void check_problem(const StorageTracker& tracker, const RedistributionProblem& problem);

/// Throws CallError: the sample in `slot` is wanted under `key`, but no worker can give it.
[[noreturn]] void throw_nobody_has(const RedistributionProblem& problem, int slot, int key);

}  // namespace orrery::master
