// The subcommands. Each takes the arguments after its name and returns the exit code; errors are
// thrown and caught once, in main.
#pragma once

#include <span>
#include <string>

namespace orrery::cli {

/// `orrery train CONFIG ...` under mpirun or srun. Collective over all ranks.
int run_train(std::span<const std::string> arguments);

/// `orrery plan CONFIG ...`: prints what a run would be; starts nothing.
int run_plan(std::span<const std::string> arguments);

}  // namespace orrery::cli
