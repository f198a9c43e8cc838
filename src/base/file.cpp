#include "orrery/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::base {

namespace {

[[noreturn]] void fail(const std::filesystem::path& file, const char* operation) {
  const int code = errno;
  const char* advice = code == ENOSPC || code == EDQUOT || code == EFBIG
                           ? "free space or set experiment.output_dir to another disk"
                           : "check the path and its permissions";
  throw OutputError(concat(file.string(), ": cannot ", operation, ": ", std::strerror(code)),
                    {.expected = "", .got = "", .advice = advice});
}

void write_all(int descriptor, std::string_view bytes, const std::filesystem::path& file) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(file, "write");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace

void FileDescriptorTraits::close(Raw raw) noexcept { ::close(raw); }

std::string special_kind(const std::filesystem::path& file) {
  struct stat status = {};
  if (::stat(file.c_str(), &status) != 0) return {};
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
      return {};
    case S_IFDIR:
      return "a folder";
    case S_IFIFO:
      return "a pipe";
    case S_IFSOCK:
      return "a socket";
    default:
      return "a device";
  }
}

namespace {

/// Not blocking: some files of /proc look like regular ones and wait for ever.
int open_to_read(const std::filesystem::path& file) {
  return ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

}  // namespace

std::string read_file(const std::filesystem::path& file) { return read_file(file, UINT64_MAX); }

std::string read_file(const std::filesystem::path& file, uint64_t most_bytes) {
  // Before it is opened: that of a pipe waits for a writer.
  if (const std::string kind = special_kind(file); !kind.empty()) {
    throw OutputError(concat(file.string(), ": cannot be read"),
                      {.expected = "a regular file", .got = kind, .advice = "check the path"});
  }
  const FileDescriptor descriptor(open_to_read(file));
  if (descriptor.get() < 0) fail(file, "open");
  std::string content;
  char chunk[65536];
  while (true) {
    const ssize_t count = ::read(descriptor.get(), chunk, sizeof(chunk));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(file, "read");
    if (count == 0) return content;
    content.append(chunk, static_cast<size_t>(count));
    if (content.size() > most_bytes) {
      throw OutputError(
          concat(file.string(), ": too large"),
          {.expected = concat("at most ", bytes_text(static_cast<int64_t>(most_bytes))),
           .got = "more",
           .advice = "check the path"});
    }
  }
}

std::string read_beginning(const std::filesystem::path& file, size_t most_bytes) {
  if (!special_kind(file).empty()) return {};
  const FileDescriptor descriptor(open_to_read(file));
  if (descriptor.get() < 0) fail(file, "open");
  std::string content(most_bytes, '\0');
  size_t n_read = 0;
  while (n_read < most_bytes) {
    const ssize_t count = ::read(descriptor.get(), content.data() + n_read, most_bytes - n_read);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(file, "read");
    if (count == 0) break;
    n_read += static_cast<size_t>(count);
  }
  content.resize(n_read);
  return content;
}

namespace {

using Status = struct stat;

/// Of the thing itself, a link too; nothing where there is none of that name.
std::optional<Status> status_of_name(const std::filesystem::path& path) {
  Status status{};
  if (::lstat(path.c_str(), &status) == 0) return status;
  if (errno != ENOENT && errno != ENOTDIR) fail(path, "look");
  // What is missing below a link to nothing may be there once the link leads somewhere.
  const std::filesystem::path parent = path.parent_path();
  if (!parent.empty() && parent != path) base::exists(parent);
  return std::nullopt;
}

/// The same of what a link leads to, which must be there.
std::optional<Status> status_of(const std::filesystem::path& path) {
  std::optional<Status> status = status_of_name(path);
  if (status && S_ISLNK(status->st_mode) && ::stat(path.c_str(), &*status) != 0) {
    fail(path, "follow this link");
  }
  return status;
}

}  // namespace

bool exists(const std::filesystem::path& path) { return status_of(path).has_value(); }

bool is_folder(const std::filesystem::path& path) {
  const std::optional<Status> status = status_of(path);
  return status && S_ISDIR(status->st_mode);
}

bool is_file(const std::filesystem::path& path) {
  const std::optional<Status> status = status_of(path);
  return status && S_ISREG(status->st_mode);
}

bool is_link(const std::filesystem::path& path) {
  const std::optional<Status> status = status_of_name(path);
  return status && S_ISLNK(status->st_mode);
}

uint64_t file_size(const std::filesystem::path& file) {
  Status status{};
  if (::stat(file.c_str(), &status) != 0) fail(file, "look");
  return static_cast<uint64_t>(status.st_size);
}

std::vector<std::filesystem::path> list_folder(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> entries;
  if (!base::exists(folder)) return entries;
  std::error_code error;
  for (std::filesystem::directory_iterator next(folder, error), end; !error && next != end;
       next.increment(error)) {
    entries.push_back(next->path());
  }
  if (error) {
    errno = error.value();
    fail(folder, "list this folder");
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

std::filesystem::path free_name(const std::filesystem::path& path, std::string_view suffix) {
  std::filesystem::path plain = path;
  plain += suffix;
  std::filesystem::path candidate = plain;
  for (int i = 1;; ++i) {
    struct stat info {};
    if (::lstat(candidate.c_str(), &info) != 0) {
      if (errno == ENOENT) return candidate;
      fail(candidate, "look");  // no name would be found to be free
    }
    candidate = plain;
    candidate += concat(".", i);
  }
}

void publish_file(const std::filesystem::path& file, std::string_view content) {
  std::filesystem::path partial = file;
  partial += concat(".partial-", ::getpid());
  try {
    {
      const FileDescriptor descriptor(
          ::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
      if (descriptor.get() < 0) fail(partial, "create");
      write_all(descriptor.get(), content, partial);
      if (::fsync(descriptor.get()) != 0) fail(partial, "sync");
    }
    if (::rename(partial.c_str(), file.c_str()) != 0) fail(file, "rename into place");
  } catch (...) {
    ::unlink(partial.c_str());
    throw;
  }
  sync_folder(file.has_parent_path() ? file.parent_path() : ".");
}

void end_last_line(const std::filesystem::path& file) {
  if (!base::exists(file)) return;
  const FileDescriptor descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  if (descriptor.get() < 0 || ::fstat(descriptor.get(), &info) != 0) fail(file, "open");
  if (info.st_size == 0) return;
  char last = 0;
  if (::pread(descriptor.get(), &last, 1, info.st_size - 1) != 1) fail(file, "read");
  if (last != '\n') AppendFile(file).write("\n");
}

void sync_folder(const std::filesystem::path& folder) {
  const FileDescriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.get() < 0 || ::fsync(descriptor.get()) != 0) fail(folder, "sync");
}

AppendFile::AppendFile(std::filesystem::path file)
    : path_(std::move(file)),
      descriptor_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  if (descriptor_.get() < 0) fail(path_, "open");
}

void AppendFile::write(std::string_view bytes) {
  const off_t end = ::lseek(descriptor_.get(), 0, SEEK_END);
  try {
    write_all(descriptor_.get(), bytes, path_);
  } catch (...) {
    // A torn piece would spoil what readers make of the next one.
    if (end >= 0 && ::ftruncate(descriptor_.get(), end) != 0) { /* the first error matters */
    }
    throw;
  }
}

}  // namespace orrery::base
