// Text from rank 0 to all ranks.
#pragma once

#include <mpi.h>

#include <string>

namespace orrery::cli {

/// Rank 0's text, on all ranks. Collective over `world`.
std::string broadcast_text(MPI_Comm world, std::string text);

}  // namespace orrery::cli
