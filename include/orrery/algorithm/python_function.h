// A Python function that is a reward: FILE.py:NAME. It runs in a process of the runner, which is
// shipped with the program.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "orrery/algorithm/spawner.h"

namespace orrery::algorithm {

struct PythonFunction {
  std::string where;               ///< FILE.py:NAME
  std::string python = "python3";  ///< by PATH, or a path
  int64_t batch_size = 64;         ///< answers that it is given at once, at most
  double max_memory_gib = 8;       ///< of a process, above which it is started again
};

/// What starting Python and importing a function may take, beside what its answers may.
inline constexpr std::chrono::seconds kFunctionStart{60};

/// tools/rewards/runner.py of the source tree that this program was built in, or
/// share/orrery/rewards/runner.py beside its bin/. Throws ConfigError when there is neither.
std::filesystem::path runner_file();

/// The command that runs the function. Throws ConfigError as runner_file().
std::string runner_command(const PythonFunction& function);

/// Why the function cannot be used here, with the end of a traceback, or nothing: starts the runner
/// and waits for it to import the function. Local.
std::optional<std::string> import_problem(Spawner& spawner, const PythonFunction& function,
                                          std::chrono::duration<double> timeout = kFunctionStart);

}  // namespace orrery::algorithm
