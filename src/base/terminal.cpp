#include "orrery/base/terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>  // any_of, min
#include <cstdlib>
#include <optional>
#include <string_view>

#include "orrery/base/launcher.h"
#include "orrery/base/posix_file.h"  // FileDescriptor
#include "orrery/base/text.h"

namespace orrery::base {

namespace {

constexpr int kColumns = 80;

std::string_view value_of(const char* variable) {
  const char* const value = std::getenv(variable);
  return value == nullptr ? "" : value;
}

/// As far as the kind of terminal goes.
bool can_draw() {
  const std::string_view kind = value_of("TERM");
  return !kind.empty() && kind != "dumb";
}

bool is_pipe(int descriptor) {
  struct stat status = {};
  return ::fstat(descriptor, &status) == 0 && S_ISFIFO(status.st_mode);
}

/// Whether this mpirun writes something else than what its ranks write, or elsewhere.
bool changes_output(const Launcher& mpirun) {
  return std::any_of(mpirun.words.begin(), mpirun.words.end(), [](std::string_view word) {
    word.remove_prefix(std::min(word.find_first_not_of('-'), word.size()));
    return word == "tag-output" || word == "timestamp-output" || word == "output-filename";
  });
}

/// None where there is no terminal.
FileDescriptor open_terminal() {
  constexpr int kFlags = O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;  // a pipe may have no reader
  if (::isatty(STDERR_FILENO) != 0) {
    return FileDescriptor(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
  }
  const std::optional<Launcher> mpirun = is_pipe(STDERR_FILENO) ? launcher() : std::nullopt;
  if (!mpirun || changes_output(*mpirun)) return FileDescriptor();
  FileDescriptor terminal(::open(concat("/proc/", mpirun->pid, "/fd/2").c_str(), kFlags));
  if (terminal && ::isatty(terminal.get()) == 0) return FileDescriptor();
  return terminal;
}

/// kColumns where it is no terminal, or does not say.
int columns_of(int descriptor) {
  winsize size = {};
  const bool says = ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return says ? size.ws_col : kColumns;
}

}  // namespace

bool is_seen_on_terminal() { return can_draw() && open_terminal(); }

int seen_columns() {
  const FileDescriptor terminal = open_terminal();
  return terminal ? columns_of(terminal.get()) : kColumns;
}

int standard_output_columns() {
  constexpr int kFewest = 40;
  const int columns = columns_of(STDOUT_FILENO);
  return columns < kFewest ? kColumns : columns;
}

bool can_draw_on_standard_output() { return can_draw() && ::isatty(STDOUT_FILENO) != 0; }

bool can_colour_standard_output() {
  return can_draw_on_standard_output() && value_of("NO_COLOR").empty();
}

}  // namespace orrery::base
