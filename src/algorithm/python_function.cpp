#include "orrery/algorithm/python_function.h"

#include <vector>

#include "orrery/algorithm/command_pool.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"
#include "reward_lines.h"

namespace orrery::algorithm {

namespace {

namespace fs = std::filesystem;

/// As command_words() reads it.
std::string quoted(const std::string& word) {
  for (const char quote : {'\'', '"'}) {
    if (word.find(quote) == std::string::npos) return quote + word + quote;
  }
  throw ConfigError(base::concat("the path ", word, " has both kinds of quotes"),
                    {.expected = "' or \" at most", .got = word, .advice = "rename the file"});
}

}  // namespace

fs::path runner_file() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  for (fs::path folder = program.parent_path(); !folder.empty(); folder = folder.parent_path()) {
    for (const char* place : {"tools/rewards/runner.py", "share/orrery/rewards/runner.py"}) {
      if (base::exists(folder / place)) return folder / place;
    }
    if (folder == folder.parent_path()) break;
  }
  throw ConfigError(
      "the runner of Python functions is missing",
      {.expected = base::concat("tools/rewards/runner.py or share/orrery/rewards/runner.py in a "
                                "folder above ",
                                program.parent_path().string()),
       .got = "neither",
       .advice = "run the program where it was built, or copy tools/rewards to "
                 "share/orrery/rewards beside its bin/"});
}

std::string runner_command(const PythonFunction& function) {
  return base::concat(quoted(function.python), " -B ", quoted(runner_file().string()), ' ',
                      quoted(function.where), " --max-memory ", function.max_memory_gib);
}

std::optional<std::string> import_problem(Spawner& spawner, const PythonFunction& function,
                                          std::chrono::duration<double> timeout) {
  CommandPool pool(spawner, {.command = runner_command(function),
                             .timeout = timeout,
                             .restarts = 0,
                             .max_first_failures = 0});
  const std::string id = "import";
  std::string problem;
  try {
    pool.ask(
        {import_question(id)},
        [&](size_t, const std::string& line) { return read_function_line(line, id).check; },
        [&](size_t, const CommandAnswer& answer) {
          problem = answer.end == CommandAnswer::End::kAnswered
                        ? read_function_line(answer.text, id).problem
                        : base::concat("it cannot be imported: ", answer.text);
        });
  } catch (const CallError& error) {
    problem = error.what();
  }
  if (problem.empty()) return std::nullopt;
  return problem;
}

}  // namespace orrery::algorithm
