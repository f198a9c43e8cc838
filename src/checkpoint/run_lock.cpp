#include "orrery/checkpoint/run_lock.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

#include "orrery/base/error.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"

namespace orrery::checkpoint {

namespace {

std::string owner_text() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  const char* const job = std::getenv("SLURM_JOB_ID");
  return base::concat("process ", ::getpid(), " on ", host.data(),
                      job != nullptr ? base::concat(", Slurm job ", job) : "", "\n");
}

base::PosixFile take(const std::filesystem::path& file,
                     const std::filesystem::path& run_directory) {
  base::PosixFile opened = base::PosixFile::open_to_lock(file);
  if (!opened) {
    throw ConfigError(base::concat("run directory ", run_directory.string(), ": ", file.string(),
                                   ": ", std::generic_category().message(errno)),
                      {.expected = "a folder that can be created and written",
                       .got = std::generic_category().message(errno),
                       .advice = "set experiment.output_dir to a folder of yours"});
  }
  if (::flock(opened.descriptor(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) {
      base::log_warning(base::concat(file.string(), ": this file system has no locks; take care ",
                                     "that no second job uses ", run_directory.string()));
      return opened;
    }
    std::string owner = base::read_file(file);
    owner = owner.substr(0, owner.find('\n'));
    throw ConfigError(base::concat("run directory ", run_directory.string(), " is in use"),
                      {.expected = "one job at a time",
                       .got = owner.empty() ? "another job" : owner,
                       .advice = "wait for it, end it, or set another experiment.name"});
  }
  const std::string owner = owner_text();
  if (::ftruncate(opened.descriptor(), 0) != 0 || !opened.write(owner)) {
    base::log_warning(base::concat(file.string(), ": cannot say who holds it"));
  }
  return opened;
}

}  // namespace

RunLock::RunLock(const std::filesystem::path& run_directory) {
  std::error_code error;
  std::filesystem::create_directories(run_directory.parent_path(), error);  // or open() tells
  beside_ = take(
      run_directory.parent_path() / base::concat(".", run_directory.filename().string(), ".lock"),
      run_directory);
  if (base::exists(run_directory)) hold(run_directory);
}

void RunLock::hold(const std::filesystem::path& run_directory) {
  struct stat held {
  }, there{};
  const std::filesystem::path file = run_directory / kInnerFile;
  if (inside_ && ::fstat(inside_.descriptor(), &held) == 0 && ::stat(file.c_str(), &there) == 0 &&
      held.st_dev == there.st_dev && held.st_ino == there.st_ino) {
    return;  // a second lock of one process on one file would wait for the first
  }
  inside_ = take(file, run_directory);
}

}  // namespace orrery::checkpoint
