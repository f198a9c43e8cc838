// One job at a time on a run directory. The lock belongs to the process: it is gone when the
// process is, however it ended, so nothing stale is ever in the way. Rank 0 only.
//
// Two files are locked: `.NAME.lock` beside the directory, which is there before the directory is
// and while it is renamed, and `.lock` inside it, which is the same file by whatever name (a link,
// a second mount) the directory is reached.
#pragma once

#include <filesystem>

#include "orrery/base/file.h"

namespace orrery::checkpoint {

class RunLock {
 public:
  /// Takes the locks of a run directory, the inner one if there is the directory. Throws
  /// ConfigError naming the job that has it. On a file system without locks: a warning, and no
  /// lock.
  explicit RunLock(const std::filesystem::path& run_directory);

  /// Takes the inner lock of the directory that has been made since. Throws as the constructor
  /// does.
  void hold(const std::filesystem::path& run_directory);

  /// The name of the inner file: a directory that holds nothing else is empty.
  static constexpr const char* kInnerFile = ".lock";

 private:
  base::PosixFile beside_, inside_;
};

}  // namespace orrery::checkpoint
