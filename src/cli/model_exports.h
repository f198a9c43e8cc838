// The folder models/ of a run: one folder an export, `latest` and `best` point to two of them, and
// old ones go. An export is pointed to when it is whole. Rank 0, main thread.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>

#include "orrery/master/best_model.h"

namespace orrery::cli {

class ModelExports {
 public:
  ///   folder          models/ of the run directory
  ///   keep            newest exports that are kept
  ///   n_checkpoints   newest checkpoints that are kept
  ///   best            of the checkpoint that the run goes on from
  ModelExports(std::filesystem::path folder, int keep, int n_checkpoints,
               const master::BestModel::State& best);

  /// An export is whole: `latest` is it, and of those up to its step those go that are neither new
  /// enough nor the best one, now, in the checkpoint that the run went on from or in one since; of
  /// a link to one that was moved only the link. Throws OutputError.
  void publish(const std::filesystem::path& exported);
  /// `best` is this one, which is whole. Throws OutputError.
  void publish_best(const std::filesystem::path& exported, int64_t step);
  /// A checkpoint that says so is whole.
  void note_checkpoint(const master::BestModel::State& best);

 private:
  bool is_best(const std::filesystem::path& exported) const;

  std::filesystem::path folder_;
  size_t keep_, n_checkpoints_;
  int64_t best_step_;                        // -1: none
  std::deque<int64_t> best_of_checkpoints_;  // newest last
};

/// Makes `best` in models/ that of a checkpoint which a run goes on from. What it says; nothing,
/// with a warning, if that export is gone. Throws OutputError.
master::BestModel::State restore_best(const std::filesystem::path& models,
                                      const master::BestModel::State& best);

}  // namespace orrery::cli
