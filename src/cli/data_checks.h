// Checks of data sets: what an experiment does with each, and every record of their files. Rank 0
// only.
#pragma once

#include "checks.h"

namespace orrery::cli {

/// An evaluation needs a call that trains on the like.
void check_evaluation(const Job& job, Checks& checks);

/// Reads and checks all data files: fills job.indices.
void read_data(Job& job, Checks& checks);

}  // namespace orrery::cli
