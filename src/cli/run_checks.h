// What a run as a whole would do in vain: a learning rate that never arrives, a model that nobody
// keeps. Rank 0, when the length of the run is known.
#pragma once

#include "checks.h"
#include "job.h"

namespace orrery::cli {

/// Warnings only: each may be meant. Uses job.n_steps, or experiment.total_steps where the data
/// have not been read.
void check_run(const Job& job, Checks& checks);

}  // namespace orrery::cli
