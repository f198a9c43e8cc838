// The folder that one experiment owns: resolved configuration, log, metrics, samples, models.
// Rank 0 makes it; workers only write into the subfolders that exist by then.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "orrery/config/experiment.h"
#include "resume_rules.h"

namespace orrery::cli {

struct RunDirectory {
  std::filesystem::path root;

  std::filesystem::path config() const { return root / "config.cfg"; }
  std::filesystem::path log() const { return root / "log.txt"; }
  std::filesystem::path metrics() const { return root / "metrics.jsonl"; }
  /// What `orrery evaluate` has found.
  std::filesystem::path evaluation() const { return root / "evaluation.json"; }
  std::filesystem::path tensorboard() const { return root / "tensorboard"; }
  std::filesystem::path trace() const { return root / "trace"; }
  std::filesystem::path samples() const { return root / "samples"; }
  /// Answers of evaluations, a folder for each set.
  std::filesystem::path evaluations() const { return root / "evaluations"; }
  /// Decisions about answers without a reward. Not cut back to a checkpoint: the steps that are
  /// done again find theirs.
  std::filesystem::path failed_answers() const { return root / "failed_answers"; }
  std::filesystem::path models() const { return root / "models"; }
  std::filesystem::path checkpoints() const { return root / "checkpoints"; }
  std::filesystem::path state() const { return root / "state"; }
};

/// `output_dir`/`name`, absolute, with links followed, so that a directory has one name; touches
/// nothing. Throws OutputError for a link to nothing.
RunDirectory run_directory_of(const config::Experiment& experiment);

/// Makes the folder and its subfolders where they are missing. Rank 0 only. Throws ConfigError for
/// one that cannot be made or written.
void make_folders(const RunDirectory& directory);

/// Makes the folder and its subfolders. An earlier run of that name is kept: it is renamed to
/// `name.1`, `name.2`, ... Returns where it went, or an empty path. Rank 0 only.
/// Throws ConfigError when the folder cannot be made or written.
std::filesystem::path create_run_directory(const RunDirectory& directory);

/// The head of config.cfg: a line `# accepted after step N: key: was A, is B` for each change that
/// --accept named and `# changed after step N: ...` for each other that was noted, those that the
/// file has from before `step` included.
std::string change_records(const RunDirectory& directory, int64_t step, const ConfigChanges& now);

/// A run that goes on in a folder of its own, or from its beginning because it had no checkpoint
/// yet, takes the decisions of `from` along. Rank 0 only. Throws OutputError.
void copy_failed_answers(const RunDirectory& from, const RunDirectory& to);

}  // namespace orrery::cli
