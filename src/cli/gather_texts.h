// Texts of all ranks on rank 0.
#pragma once

#include <mpi.h>

#include <string>
#include <vector>

namespace orrery::cli {

/// [n_ranks] on rank 0, nothing elsewhere: each rank's text, of which the first MiB travels.
/// Collective over `world`.
std::vector<std::string> gather_texts(MPI_Comm world, const std::string& own);

}  // namespace orrery::cli
