#include "next_commands.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "orrery/base/launcher.h"
#include "orrery/base/text.h"

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

constexpr size_t kCommands = 3;

/// Quoted where the shell would read it as something else.
std::string shell_word(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string shell_text(const std::vector<std::string>& words) {
  std::vector<std::string> quoted;
  for (const std::string& word : words) quoted.push_back(shell_word(word));
  return base::join(quoted, " ");
}

std::string shown(const fs::path& path, const fs::path& here) {
  const fs::path relative = path.lexically_relative(here);
  const bool is_below = !relative.empty() && *relative.begin() != "..";
  return shell_word((is_below ? relative : path).string());
}

}  // namespace

std::string launcher_text(const std::vector<std::string>& words, const std::string& program) {
  auto found = std::find(words.begin(), words.end(), program);
  if (found == words.end()) {
    found = std::find_if(words.begin(), words.end(), [&](const std::string& word) {
      return fs::path(word).filename() == fs::path(program).filename();
    });
  }
  if (found == words.end()) return "";
  std::vector<std::string> before(words.begin(), found);
  for (size_t i = 1; i < before.size(); ++i) {
    if (before[i - 1] == "-x") before[i] = before[i].substr(0, before[i].find('='));
  }
  return shell_text(before);
}

StartWords start_words(int n_ranks) {
  const std::vector<std::string> own = base::own_words();
  const std::string program = own.empty() ? "orrery" : own.front();
  StartWords start{.launcher = base::concat("mpirun -n ", n_ranks), .program = shell_word(program)};
  if (const std::optional<base::Launcher> mpirun = base::launcher()) {
    const std::string words = launcher_text(mpirun->words, program);
    if (!words.empty()) start.launcher = words;
  } else if (std::getenv("SLURM_STEP_ID") != nullptr) {
    start.launcher = base::concat("srun --mpi=pmix -n ", n_ranks);
  }
  return start;
}

std::vector<std::string> next_commands(const EndedRun& run, const StartWords& start,
                                       const fs::path& here) {
  const std::string root = shown(run.root, here);
  const std::string alone = start.program + " ";
  std::vector<std::string> commands = {alone + "report " + root + " --out report.html"};
  if (run.has_evaluations && !run.models.empty()) {
    commands.push_back(base::concat(start.launcher, " ", alone, "evaluate ",
                                    shown(run.root / "config.cfg", here), " --model ",
                                    shown(run.models, here)));
  }
  if (!run.generating_role.empty() && !run.models.empty()) {
    commands.push_back(base::concat(alone, "generate --model ",
                                    shown(run.models / run.generating_role, here), " --prompt ",
                                    shell_word(run.prompt.empty() ? "-" : run.prompt)));
  }
  commands.push_back(alone + "plot " + root);
  commands.push_back(alone + "inspect " + root);
  commands.resize(kCommands);
  return commands;
}

}  // namespace orrery::cli
