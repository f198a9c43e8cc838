// One job at a time on a run directory. The lock belongs to the process: it is gone when the
// process is, however it ended, so nothing stale is ever in the way. Rank 0 only.
#pragma once

#include <filesystem>

#include "orrery/base/file.h"

namespace orrery::checkpoint {

class RunLock {
 public:
  /// Takes the lock of a run directory, in a file beside it. Throws ConfigError naming the job that
  /// has it. On a file system without locks: a warning, and no lock.
  explicit RunLock(const std::filesystem::path& run_directory);

 private:
  base::FileDescriptor descriptor_;
};

}  // namespace orrery::checkpoint
