// What one does next with a run that has ended, as commands to copy. Rank 0.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace orrery::cli {

/// How this job was started: what stands before the arguments of a job and of a single process.
struct StartWords {
  std::string launcher;  ///< `mpirun --oversubscribe -n 3`
  std::string program;   ///< `build/release/orrery`
};

/// Of mpirun's command line what stands before this program; empty: the program is not in it. The
/// values of `-x NAME=VALUE` are left out: they may be secret, and this is for the log.
std::string launcher_text(const std::vector<std::string>& words, const std::string& program);

/// As the user typed it, as far as that can be seen.
StartWords start_words(int n_ranks);

/// A run that has ended, as far as it can be gone on from.
struct EndedRun {
  std::filesystem::path root;
  std::filesystem::path models = {};  ///< folder with a model of each role; empty: none
  std::string generating_role = {};   ///< of these, one that gives text; empty: none
  bool has_evaluations = false;
  std::string prompt = {};  ///< of its data; empty: none is known
};

/// Three commands: its page, the evaluations and a continuation by its best model, else by the last
/// one; where there is none of these, its curves and what the directory holds. Paths below `here`
/// are relative to it.
std::vector<std::string> next_commands(const EndedRun& run, const StartWords& start,
                                       const std::filesystem::path& here);

}  // namespace orrery::cli
