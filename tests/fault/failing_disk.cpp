// A disk that fails, for programs that know nothing of it: loaded before the C library, it lets one
// write, one fsync (of a file or of a folder) or one open of a folder fail at or below a folder of
// checkpoints. In the process that has
//
//   LD_PRELOAD=libfailing_disk.so ORRERY_DISK_FAULT=CALL:ERROR:N     write:EIO:41, fsync:ENOSPC:2,
//                                                                    open:EIO:1
//
// the N-th CALL (from 1) fails with ERROR; of ENOSPC every later one as well, as on a disk that
// stays full. Only what is a folder named checkpoints or lies in one counts. N = 0: none fails, and
// how many there were is told at the end.
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

struct Fault {
  char call[16] = "";
  int error = 0;
  int at = -1;  // -1: no fault is wanted

  Fault() {
    const char* const text = std::getenv("ORRERY_DISK_FAULT");
    char error_name[16] = "";
    if (text == nullptr || std::sscanf(text, "%15[^:]:%15[^:]:%d", call, error_name, &at) != 3) {
      at = -1;
      return;
    }
    error = std::strcmp(error_name, "ENOSPC") == 0 ? ENOSPC : EIO;
  }
  ~Fault();
};

std::atomic<int> n_calls = 0;
const Fault fault;

Fault::~Fault() {
  if (at == 0) std::fprintf(stderr, "failing_disk: %d calls\n", n_calls.load());
}

bool is_of_a_checkpoint(const char* path) {
  const char* const found = std::strstr(path, "/checkpoints");
  return found != nullptr && (found[12] == '/' || found[12] == '\0');
}

bool is_of_a_checkpoint(int descriptor) {
  char link[64], path[PATH_MAX];
  std::snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
  const ssize_t size = ::readlink(link, path, sizeof(path) - 1);
  if (size < 0) return false;
  path[size] = '\0';
  return is_of_a_checkpoint(path);
}

///   where  a descriptor or a path
template <class Where>
bool is_to_fail(const char* call, Where where) {
  if (fault.at < 0 || std::strcmp(call, fault.call) != 0 || !is_of_a_checkpoint(where)) {
    return false;
  }
  const int now = ++n_calls;
  if (fault.at == 0 || now < fault.at || (now > fault.at && fault.error != ENOSPC)) return false;
  errno = fault.error;
  return true;
}

template <class Function>
Function next(Function, const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

ssize_t write(int descriptor, const void* bytes, size_t size) {
  static const auto real = next(&::write, "write");
  return is_to_fail("write", descriptor) ? -1 : real(descriptor, bytes, size);
}

ssize_t pwrite(int descriptor, const void* bytes, size_t size, off_t offset) {
  static const auto real = next(&::pwrite, "pwrite");
  return is_to_fail("write", descriptor) ? -1 : real(descriptor, bytes, size, offset);
}

ssize_t pwrite64(int descriptor, const void* bytes, size_t size, off64_t offset) {
  static const auto real = next(&::pwrite64, "pwrite64");
  return is_to_fail("write", descriptor) ? -1 : real(descriptor, bytes, size, offset);
}

int fsync(int descriptor) {
  static const auto real = next(&::fsync, "fsync");
  return is_to_fail("fsync", descriptor) ? -1 : real(descriptor);
}

/// Of files and their modes this knows nothing: it passes on what it was given.
int open(const char* path, int flags, ...) {
  using Open = int (*)(const char*, int, mode_t);
  static const auto real = reinterpret_cast<Open>(::dlsym(RTLD_NEXT, "open"));
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  if ((flags & O_DIRECTORY) != 0 && is_to_fail("open", path)) return -1;
  return real(path, flags, mode);
}

}  // extern "C"
