#include "orrery/base/file.h"

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

}  // namespace

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

std::string read_file(const std::filesystem::path& file) { return read_file(file, UINT64_MAX); }

std::string read_file(const std::filesystem::path& file, uint64_t most_bytes) {
  // Before it is opened: that of a pipe waits for a writer.
  if (const std::string kind = special_kind(file); !kind.empty()) {
    throw OutputError(concat(file.string(), ": cannot be read"),
                      {.expected = "a regular file", .got = kind, .advice = "check the path"});
  }
  const PosixFile open = PosixFile::open_to_read(file);
  if (!open) fail(file, "open");
  std::string content;
  char chunk[65536];
  while (true) {
    const int64_t count = open.read(chunk, sizeof(chunk));
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
  const PosixFile open = PosixFile::open_to_read(file);
  if (!open) fail(file, "open");
  std::string content(most_bytes, '\0');
  const int64_t count = open.read(content.data(), most_bytes);
  if (count < 0) fail(file, "read");
  content.resize(static_cast<size_t>(count));
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

std::filesystem::path link_target(const std::filesystem::path& path) {
  return is_link(path) && base::exists(path) ? std::filesystem::canonical(path) : path;
}

std::filesystem::path without_slash(const std::filesystem::path& path) {
  return path.has_filename() ? path : path.parent_path();
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

namespace {

/// Of a pipe, a device, a socket: there is nothing to put in its place.
void write_in_place(const std::filesystem::path& file, std::string_view content) {
  const PosixFile open = PosixFile::open_to_append(file);
  if (!open) fail(file, "open");
  if (!open.write(content)) fail(file, "write");
}

}  // namespace

void publish_file(const std::filesystem::path& file, std::string_view content) {
  const std::string kind = special_kind(file);
  if (!kind.empty() && kind != "a folder") return write_in_place(file, content);
  const std::filesystem::path target = link_target(file);
  std::filesystem::path partial = target;
  partial += concat(".partial-", ::getpid());
  try {
    {
      const PosixFile made = PosixFile::create(partial);
      if (!made) fail(partial, "create");
      if (!made.write(content)) fail(partial, "write");
      if (!made.sync()) fail(partial, "sync");
    }
    if (::rename(partial.c_str(), target.c_str()) != 0) fail(target, "rename into place");
  } catch (...) {
    ::unlink(partial.c_str());
    throw;
  }
  sync_folder(target.has_parent_path() ? target.parent_path() : ".");
}

void end_last_line(const std::filesystem::path& file) {
  if (!base::exists(file)) return;
  const PosixFile open = PosixFile::open_to_read(file);
  struct stat info {};
  if (!open || ::fstat(open.descriptor(), &info) != 0) fail(file, "open");
  if (info.st_size == 0) return;
  char last = 0;
  if (open.read_at(info.st_size - 1, &last, 1) != 1) fail(file, "read");
  if (last != '\n') AppendFile(file).write("\n");
}

void sync_folder(const std::filesystem::path& folder) {
  const PosixFile open = PosixFile::open_folder(folder);
  if (!open || !open.sync()) fail(folder, "sync");
}

AppendFile::AppendFile(std::filesystem::path file)
    : path_(std::move(file)), file_(PosixFile::open_to_append(path_)) {
  if (!file_) fail(path_, "open");
}

void AppendFile::write(std::string_view bytes) {
  const off_t end = ::lseek(file_.descriptor(), 0, SEEK_END);
  if (file_.write(bytes)) return;
  const int code = errno;
  // A torn piece would spoil what readers make of the next one.
  if (end >= 0 && ::ftruncate(file_.descriptor(), end) != 0) { /* the first error matters */
  }
  errno = code;
  fail(path_, "write");
}

}  // namespace orrery::base
