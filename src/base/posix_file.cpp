#include "orrery/base/posix_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace orrery::base {

namespace {

constexpr mode_t kMode = 0666;  // less the umask

/// Calls read(done) for what is left until all of it is there, an error, or the end of the file.
template <class Read>
int64_t read_all(size_t n_bytes, const Read& read) {
  size_t done = 0;
  while (done < n_bytes) {
    const ssize_t n = read(done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return static_cast<int64_t>(done);
}

}  // namespace

void FileDescriptorTraits::close(Raw raw) noexcept { ::close(raw); }

PosixFile PosixFile::open_to_read(const std::filesystem::path& file) {
  return PosixFile(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
}

PosixFile PosixFile::create(const std::filesystem::path& file) {
  return PosixFile(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kMode));
}

PosixFile PosixFile::open_to_append(const std::filesystem::path& file) {
  return PosixFile(::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kMode));
}

PosixFile PosixFile::open_to_lock(const std::filesystem::path& file) {
  return PosixFile(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kMode));
}

PosixFile PosixFile::open_folder(const std::filesystem::path& folder) {
  return PosixFile(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

int64_t PosixFile::read(void* to, size_t n_bytes) const {
  return read_all(n_bytes, [&](size_t done) {
    return ::read(descriptor(), static_cast<char*>(to) + done, n_bytes - done);
  });
}

int64_t PosixFile::read_at(int64_t offset, void* to, size_t n_bytes) const {
  return read_all(n_bytes, [&](size_t done) {
    return ::pread(descriptor(), static_cast<char*>(to) + done, n_bytes - done,
                   offset + static_cast<int64_t>(done));
  });
}

bool PosixFile::write(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t n = ::write(descriptor(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

bool PosixFile::sync() const { return ::fsync(descriptor()) == 0; }

}  // namespace orrery::base
