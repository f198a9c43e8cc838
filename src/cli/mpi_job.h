// One MPI job of master and workers, from its command line to its exit code: what `train` and
// `evaluate` have in common.
#pragma once

#include <optional>

#include "job.h"
#include "orrery/config/command_line.h"

namespace orrery::cli {

/// Collective over all ranks of MPI_COMM_WORLD, which it initialises. Returns the exit code, after
/// rank 0 has said why it is not 0.
///   evaluated  nothing: the job trains
int run_mpi_job(const config::TrainOptions& options,
                const std::optional<ModelToEvaluate>& evaluated);

}  // namespace orrery::cli
