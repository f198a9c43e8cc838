#include "run_directory.h"

#include <fcntl.h>  // AT_EACCESS
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <system_error>

#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"
#include "orrery/checkpoint/run_lock.h"

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void refuse(const fs::path& path, const std::error_code& error) {
  throw ConfigError(base::concat("run directory ", path.string(), ": ", error.message()),
                    {.expected = "a folder that can be created and written",
                     .got = error.message(),
                     .advice = "mend its permissions, or set experiment.output_dir to a folder of "
                               "yours"});
}

/// Whether a folder holds nothing but the lock of this job.
bool is_unused(const fs::path& folder) {
  const std::vector<fs::path> entries = base::list_folder(folder);
  return std::all_of(entries.begin(), entries.end(), [](const fs::path& entry) {
    return entry.filename() == checkpoint::RunLock::kInnerFile;
  });
}

constexpr std::string_view kAccepted = "# accepted after step ";
constexpr std::string_view kChanged = "# changed after step ";

/// The step of a line that records a change; nothing of any other line.
std::optional<int64_t> step_of_record(const std::string& line) {
  for (const std::string_view head : {kAccepted, kChanged}) {
    if (line.starts_with(head)) return std::atoll(line.c_str() + head.size());
  }
  return std::nullopt;
}

}  // namespace

RunDirectory run_directory_of(const config::Experiment& experiment) {
  const fs::path root =
      fs::absolute(fs::path(experiment.experiment.output_dir) / experiment.experiment.name)
          .lexically_normal();
  base::exists(root);  // throws where it is a link to nothing
  std::error_code error;
  const fs::path canonical = fs::weakly_canonical(root, error);
  if (error) refuse(root, error);
  return {canonical};
}

void make_folders(const RunDirectory& directory) {
  std::error_code error;
  for (const fs::path& folder :
       {directory.tensorboard(), directory.trace(), directory.samples(), directory.evaluations(),
        directory.models(), directory.checkpoints(), directory.state()}) {
    fs::create_directories(folder, error);
    if (error) refuse(folder, error);
    // One that was there before: found now, and not by the first save.
    if (::faccessat(AT_FDCWD, folder.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
      refuse(folder, std::error_code(errno, std::generic_category()));
    }
  }
}

fs::path create_run_directory(const RunDirectory& directory) {
  std::error_code error;
  fs::path kept;
  if (!is_unused(directory.root)) {
    kept = base::free_name(directory.root, "");  // taken, so name.1, name.2, ...
    fs::rename(directory.root, kept, error);
    if (error) refuse(directory.root, error);
  }
  make_folders(directory);
  return kept;
}

std::string change_records(const RunDirectory& directory, int64_t step, const ConfigChanges& now) {
  std::string head;
  if (base::exists(directory.config())) {
    const std::string before = base::read_file(directory.config());
    for (size_t begin = 0; begin < before.size();) {
      const size_t end = std::min(before.find('\n', begin), before.size());
      const std::string line = before.substr(begin, end - begin);
      begin = end + 1;
      // Those of `step` itself are of an attempt that left no checkpoint: `now` has all of them.
      if (const auto of = step_of_record(line); of && *of < step) head += line + "\n";
    }
  }
  for (const std::string& change : now.accepted) {
    head += base::concat(kAccepted, step, ": ", change, "\n");
  }
  for (const std::string& change : now.noted) {
    head += base::concat(kChanged, step, ": ", change, "\n");
  }
  return head;
}

void copy_failed_answers(const RunDirectory& from, const RunDirectory& to) {
  std::error_code error;
  if (!base::exists(from.failed_answers())) return;
  fs::copy(from.failed_answers(), to.failed_answers(), fs::copy_options::recursive, error);
  if (!error) return;
  throw OutputError(base::concat("copying ", from.failed_answers().string(), " to ",
                                 to.failed_answers().string(), ": ", error.message()));
}

}  // namespace orrery::cli
