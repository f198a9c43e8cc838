// Files that must not be lost or half written. Any rank; an object belongs to one thread.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "orrery/base/unique_handle.h"

namespace orrery::base {

struct FileDescriptorTraits {
  using Raw = int;
  static Raw none() { return -1; }
  static void close(Raw raw) noexcept;
};
using FileDescriptor = UniqueHandle<FileDescriptorTraits>;

/// Whole content. Throws OutputError naming file and reason.
std::string read_file(const std::filesystem::path& file);

/// Writes beside `file`, syncs, renames onto it and syncs the folder: afterwards, and after a crash
/// at any moment, `file` has its old content or all of `content`. Throws OutputError.
void publish_file(const std::filesystem::path& file, std::string_view content);

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
  FileDescriptor descriptor_;
};

}  // namespace orrery::base
