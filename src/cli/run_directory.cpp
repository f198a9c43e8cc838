#include "run_directory.h"

#include <system_error>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void refuse(const fs::path& path, const std::error_code& error) {
  throw ConfigError(base::concat("run directory ", path.string(), ": ", error.message()),
                    {.expected = "a folder that can be created and written",
                     .got = error.message(),
                     .advice = "set experiment.output_dir to a folder of yours"});
}

fs::path free_name(const fs::path& root) {
  for (int i = 1;; ++i) {
    fs::path candidate = root;
    candidate += base::concat(".", i);
    if (!fs::exists(candidate)) return candidate;
  }
}

}  // namespace

RunDirectory run_directory_of(const config::Experiment& experiment) {
  return {fs::absolute(fs::path(experiment.experiment.output_dir) / experiment.experiment.name)
              .lexically_normal()};
}

void make_folders(const RunDirectory& directory) {
  std::error_code error;
  for (const fs::path& folder : {directory.tensorboard(), directory.trace(), directory.samples(),
                                 directory.models(), directory.checkpoints(), directory.state()}) {
    fs::create_directories(folder, error);
    if (error) refuse(folder, error);
  }
}

fs::path create_run_directory(const RunDirectory& directory) {
  std::error_code error;
  fs::path kept;
  if (fs::exists(directory.root, error) && !fs::is_empty(directory.root, error)) {
    kept = free_name(directory.root);
    fs::rename(directory.root, kept, error);
    if (error) refuse(directory.root, error);
  }
  make_folders(directory);
  return kept;
}

void copy_failed_answers(const RunDirectory& from, const RunDirectory& to) {
  std::error_code error;
  if (!fs::is_directory(from.failed_answers(), error)) return;
  fs::copy(from.failed_answers(), to.failed_answers(), fs::copy_options::recursive, error);
  if (!error) return;
  throw OutputError(base::concat("copying ", from.failed_answers().string(), " to ",
                                 to.failed_answers().string(), ": ", error.message()));
}

}  // namespace orrery::cli
