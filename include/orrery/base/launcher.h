// The mpirun that started this process, as Linux shows it in /proc. Any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace orrery::base {

struct Launcher {
  int pid = 0;
  std::vector<std::string> words;  ///< its command line, this program's part included
};

/// Nothing: this process was started by something else (a shell, srun, another node's daemon), or
/// the parent cannot be looked at.
std::optional<Launcher> launcher();

/// The command line of this process.
std::vector<std::string> own_words();

}  // namespace orrery::base
