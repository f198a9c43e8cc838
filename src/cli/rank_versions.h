// All ranks of a job are one build of the program: what they send each other has no version of its
// own, and two builds need not compute the same numbers.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "orrery/comm/mpi_session.h"

namespace orrery::cli {

/// What a rank says of itself.
struct RankVersion {
  std::string build;  ///< program_build()
  std::string host;
};

/// Which ranks are not the build of rank 0, by name; empty: all are. By rank.
std::string differing_versions(const std::vector<RankVersion>& ranks);

/// Throws ConfigError on rank 0, and on others that hear of another build, when not all ranks are
/// this one; a rank that says nothing within the deadline is of a version that does not know this
/// check. First thing after MPI has started; one small message from and to each rank.
void check_rank_versions(const comm::MpiSession& mpi,
                         std::chrono::duration<double> deadline = std::chrono::seconds(60));

}  // namespace orrery::cli
