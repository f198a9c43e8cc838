#include "process.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>

namespace orrery::cli {

namespace {

/// The deepest functions, of the libraries, take less than half of it.
constexpr size_t kLeastStack = size_t{1} << 20;

void open_closed_streams() {
  // In this order: open() takes the lowest number that is free.
  constexpr int kModes[] = {O_RDONLY, O_RDONLY, O_RDWR};
  for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream) {
    if (::fcntl(stream, F_GETFD) < 0) ::open("/dev/null", kModes[stream]);
  }
}

}  // namespace

const char* prepare_process() {
  open_closed_streams();
  ::umask(::umask(0) | S_IWOTH);
  struct rlimit stack = {};
  if (::getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur < kLeastStack) {
    return "the stack of this process is too small; expected 1 MiB or more; got the limit of "
           "`ulimit -s`; raise it: ulimit -s 8192";
  }
  return nullptr;
}

}  // namespace orrery::cli
