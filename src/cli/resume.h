// Where a run goes on: the newest checkpoint that is whole, of the same experiment.
#pragma once

#include <mpi.h>

#include <filesystem>
#include <string>
#include <vector>

#include "resume_rules.h"
#include "run_directory.h"

namespace orrery::cli {

/// The checkpoint that a run goes on from; empty: from its beginning.
struct ResumePoint {
  std::filesystem::path checkpoint = {};
  std::vector<std::filesystem::path> damaged = {};  ///< newer ones, checked and found damaged
};

/// Directories that `--resume` may mean, newest first: of `auto` the run directory's checkpoints;
/// of a path that checkpoint, or that run's, whatever name leads to it. The path of another run is
/// where this one begins: once it has checkpoints of its own it goes on from these, and says so.
/// Rank 0 only. Throws ConfigError for a path that holds no checkpoint, OutputError for what cannot
/// be listed.
std::vector<std::filesystem::path> resume_candidates(const std::string& resume,
                                                     const RunDirectory& directory);

/// The first candidate whose files all are what its manifest says; empty if there is no candidate.
/// The ranks share the reading. A damaged one is skipped with a loud line for each fault.
/// Collective over `world`; candidates are those of rank 0. Throws on all ranks: CheckpointError
/// when there are candidates and none is whole, OutputError when one cannot be read, which is no
/// damage: what is wrong with it is the machine's, and nothing is touched.
ResumePoint newest_whole_checkpoint(MPI_Comm world, std::vector<std::filesystem::path> candidates);

/// Throws ConfigError that says what is refused, in few lines; logs what is noted. Returns the
/// changes that pass. Rank 0 only.
ConfigChanges check_same_experiment(const std::filesystem::path& checkpoint,
                                    const std::string& before, const std::string& now,
                                    const std::vector<std::string>& accept);

/// Makes a run directory ready to go on after `step`: what was written of later steps goes, torn
/// lines are cut off, the traces so far move to trace/until-step-N (.1, .2, ... where taken),
/// checkpoints newer than the one that is used are kept as step-N.damaged or step-N.abandoned;
/// where one of them was whole, so are models exported after `step`. Rank 0 only. Throws
/// OutputError, std::filesystem::filesystem_error or ConfigError.
void continue_run_directory(const RunDirectory& directory, const ResumePoint& point, int64_t step);

}  // namespace orrery::cli
