// Files that must not be lost or half written. Any rank; an object belongs to one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/base/posix_file.h"

namespace orrery::base {

/// What is there instead of a regular file: `a folder`, `a device`, `a pipe`, `a socket`. Empty: a
/// regular file, or nothing that can be looked at. Reading the others may never end.
std::string special_kind(const std::filesystem::path& file);

/// Whole content of a regular file. Throws OutputError naming file and reason.
std::string read_file(const std::filesystem::path& file);

/// The same of a file that is refused when it has more than `most_bytes`.
std::string read_file(const std::filesystem::path& file, uint64_t most_bytes);

/// The first `most_bytes` of a file, or all that it has; nothing of what is no regular file. Throws
/// OutputError naming file and reason.
std::string read_beginning(const std::filesystem::path& file, size_t most_bytes);

// Looking: tools/check_lookups.py holds that all of the program looks through these. What cannot be
// looked at (permissions, an I/O error, a link to nothing or below one, such as a file system that
// is not mounted) is no absence: they throw OutputError.

/// Whether there is something of that name.
bool exists(const std::filesystem::path& path);

/// Whether there is a folder of that name, links followed.
bool is_folder(const std::filesystem::path& path);

/// Whether there is a regular file of that name, links followed.
bool is_file(const std::filesystem::path& path);

/// Whether there is a link of that name, to something or to nothing.
bool is_link(const std::filesystem::path& path);

/// What a link leads to, and any other path as it is. Throws OutputError for a link to nothing.
std::filesystem::path link_target(const std::filesystem::path& path);

/// The path without a slash at its end.
std::filesystem::path without_slash(const std::filesystem::path& path);

/// Bytes of a file that must be there.
uint64_t file_size(const std::filesystem::path& file);

/// What is in a folder, in order of the names; nothing where there is no such folder. Throws
/// OutputError when it is there and cannot be listed.
std::vector<std::filesystem::path> list_folder(const std::filesystem::path& folder);

/// `path` with `suffix` behind it, and `.1`, `.2`, ... behind that where the name is taken.
/// Throws OutputError.
std::filesystem::path free_name(const std::filesystem::path& path, std::string_view suffix);

/// Writes beside `file`, syncs, renames onto it and syncs the folder: afterwards, and after a crash
/// at any moment, `file` has its old content or all of `content`. Throws OutputError.
void publish_file(const std::filesystem::path& file, std::string_view content);

/// What was renamed into or made in `folder` is there after a crash. Throws OutputError.
void sync_folder(const std::filesystem::path& folder);

/// A last line that a killed job left without its end is ended, so that it swallows no other.
/// Nothing happens where there is no such file. Throws OutputError.
void end_last_line(const std::filesystem::path& file);

/// A file that grows at its end. Every write reaches the operating system before it returns, so a
/// killed program loses nothing that was written.
class AppendFile {
 public:
  /// Creates the file or goes on at its end. Throws OutputError.
  explicit AppendFile(std::filesystem::path file);

  /// All of `bytes`. Throws OutputError naming file and reason ("No space left on device"); what
  /// was there before stays, and a partly written piece is cut off again.
  void write(std::string_view bytes);

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  PosixFile file_;
};

}  // namespace orrery::base
