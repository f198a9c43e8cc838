#include "orrery/cli/program.h"

#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "commands.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "process.h"
#include "program_versions.h"
#include "stop_signal.h"

namespace orrery::cli {

namespace {

constexpr const char* kUsage = R"(orrery: reinforcement learning of language models as one MPI job

  orrery train CONFIG [--set K=V]... [--resume auto|off|DIR]   under mpirun or srun
  orrery evaluate CONFIG [--model DIR] [--set K=V]...          the same: evaluates, trains nothing
  orrery plan CONFIG [--set K=V]... [--workers N]              what a run would be; starts nothing
  orrery score    --model DIR --tokens F.json --out F.json [--layout L] [--logits]
  orrery generate --model DIR (--tokens F.json | --prompts F.jsonl) --out F.json --max-new-tokens N
                  [--greedy | --temperature T --top-p P --top-k K --seed S] [--eos ID] [--layout L]
  orrery generate --model DIR --prompt "TEXT"    the text as it comes; --prompt - reads lines
  orrery convert  --from DIR --to DIR    Hugging Face directory <-> Orrery checkpoint
  orrery inspect PATH          what a model, checkpoint, run or file holds
  orrery verify PATH           re-reads everything: exit code 5 where it is damaged
  orrery report RUN [RUN...] [--out report.html] [--follow]    one page about runs, for a browser
  orrery watch RUN             a run in the terminal while it goes on
  orrery plot RUN [RUN...] [METRIC...] [--out F.svg|F.png]     metrics over each other
  orrery compare A B           what differs between two runs, and from which step on
  orrery doctor                would a job run here, and how fast? alone, under mpirun or srun
  orrery completion bash|zsh   for the shell: source <(orrery completion bash)
  orrery --version             what this program is made of
  orrery COMMAND --help        all options; of train and plan also all configuration keys

example: mpirun -n 3 orrery train configs/grpo_tiny.cfg
)";

struct Command {
  const char* name;
  int (*run)(std::span<const std::string> arguments);
};
constexpr Command kCommands[] = {
    {"train", run_train},     {"evaluate", run_evaluate},     {"plan", run_plan},
    {"score", run_score},     {"generate", run_generate},     {"convert", run_convert},
    {"inspect", run_inspect}, {"verify", run_verify},         {"doctor", run_doctor},
    {"report", run_report},   {"watch", run_watch},           {"plot", run_plot},
    {"compare", run_compare}, {"completion", run_completion},
};

int run_command(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    say_once(kUsage);
    return 2;
  }
  const std::string& command = arguments.front();
  const std::span<const std::string> rest(arguments.data() + 1, arguments.size() - 1);
  for (const Command& known : kCommands) {
    if (command == known.name) return known.run(rest);
  }
  if (command == "--help" || command == "-h" || command == "help") {
    std::cout << kUsage;
    return 0;
  }
  if (command == "--version" || command == "-V" || command == "version") {
    std::cout << versions_text();
    return 0;
  }
  std::string text = base::concat("orrery: unknown command '", command, "'");
  std::vector<std::string> known = {"help", "version"};
  for (const Command& one : kCommands) known.push_back(one.name);
  if (const auto nearest = base::nearest(command, known)) {
    text += base::concat("; did you mean '", *nearest, "'?");
  }
  say_once(text + "\n\n" + kUsage);
  return 2;
}

void take_over_stop_signals(int argc, char** argv, char**) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "train" || command == "evaluate") exit_on_stop_signals();
}

/// Runs before the libraries initialise themselves, which is most of the time until main.
[[gnu::section(".preinit_array"),
  gnu::used]] void (*const kBeforeLibraries)(int, char**, char**) = take_over_stop_signals;

}  // namespace

int run(int argc, char** argv, const std::function<void()>& register_more) {
  if (const char* const problem = prepare_process()) {
    std::cerr << "orrery: " << problem << std::endl;
    return 2;
  }
  // A write past a file-size limit or into a closed pipe is an error with a message, not a death.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    if (register_more) register_more();
    return run_command({argv + 1, argv + argc});
  } catch (const ConfigError& error) {
    say_once(std::string("orrery: ") + error.what());
    return error.exit_code();
  } catch (const Error& error) {
    std::cerr << "orrery: " << error.what() << std::endl;
    return error.exit_code();
  } catch (const std::exception& error) {
    std::cerr << "orrery: " << error.what() << std::endl;
    return 3;
  }
}

}  // namespace orrery::cli
