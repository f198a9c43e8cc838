// Where a run goes on: the newest checkpoint that is whole, of the same experiment.
#pragma once

#include <mpi.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "run_directory.h"

namespace orrery::cli {

/// Directories that `--resume` may mean, newest first: of `auto` the run directory's checkpoints;
/// of a path that checkpoint, or that run's. Rank 0 only. Throws ConfigError for a path that holds
/// no checkpoint.
std::vector<std::filesystem::path> resume_candidates(const std::string& resume,
                                                     const RunDirectory& directory);

/// The first candidate whose files all are what its manifest says; empty if there is no candidate.
/// The ranks share the reading. A damaged one is skipped with a loud line for each fault.
/// Collective over `world`; candidates are those of rank 0. Throws CheckpointError on all ranks
/// when there are candidates and none is whole.
std::filesystem::path newest_whole_checkpoint(MPI_Comm world,
                                              std::vector<std::filesystem::path> candidates);

/// Keys of two resolved configurations that differ, by what a resumed run makes of it.
struct ConfigChanges {
  std::vector<std::string> refused;  ///< `key: was A, is B`: it would be another experiment
  std::vector<std::string> noted;    ///< training goes on differently, as asked for
};
ConfigChanges compare_configs(const std::string& before, const std::string& now);

/// Data sets for which the bounds of records (max_prompt_tokens, max_tokens, on_bad_record) differ:
/// they may have other rows than before.
std::vector<std::string> datasets_with_other_bounds(const std::string& before,
                                                    const std::string& now);

/// Throws ConfigError that lists what is refused; logs what is noted. Rank 0 only.
void check_same_experiment(const std::filesystem::path& checkpoint, const std::string& before,
                           const std::string& now);

/// Makes a run directory ready to go on after `step`: what was written of later steps goes, the
/// traces so far move to trace/until-step-N, checkpoints newer than the one that is used are kept
/// under another name. Rank 0 only. Throws OutputError or ConfigError.
void continue_run_directory(const RunDirectory& directory, const std::filesystem::path& checkpoint,
                            int64_t step);

}  // namespace orrery::cli
