// Finds the subcommand and turns any error into one message and its exit code:
// 0 done, 2 bad configuration or usage, 3 a call failed, 4 a peer died or a deadline passed,
// 5 output or checkpoint could not be written or read, 85 stopped on purpose.
#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace {

constexpr const char* kUsage = R"(orrery: reinforcement learning of language models as one MPI job

  orrery train CONFIG [--set K=V]... [--resume auto|off|DIR]   under mpirun or srun
  orrery plan CONFIG [--set K=V]... [--workers N]              what a run would be; starts nothing
  orrery train --help, orrery plan --help                      all options and configuration keys

example: mpirun -n 3 orrery train configs/grpo_tiny.cfg
)";

int run(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    std::cerr << kUsage;
    return 2;
  }
  const std::string& command = arguments.front();
  const std::span<const std::string> rest(arguments.data() + 1, arguments.size() - 1);
  if (command == "train") return orrery::cli::run_train(rest);
  if (command == "plan") return orrery::cli::run_plan(rest);
  if (command == "--help" || command == "-h" || command == "help") {
    std::cout << kUsage;
    return 0;
  }
  std::string text = orrery::base::concat("orrery: unknown command '", command, "'");
  const std::vector<std::string> known = {"train", "plan", "help"};
  if (const auto nearest = orrery::base::nearest(command, known)) {
    text += orrery::base::concat("; did you mean '", *nearest, "'?");
  }
  std::cerr << text << "\n\n" << kUsage;
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  // A write past a file-size limit or into a closed pipe is an error with a message, not a death.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return run({argv + 1, argv + argc});
  } catch (const orrery::Error& error) {
    std::cerr << "orrery: " << error.what() << std::endl;
    return error.exit_code();
  } catch (const std::exception& error) {
    std::cerr << "orrery: " << error.what() << std::endl;
    return 3;
  }
}
