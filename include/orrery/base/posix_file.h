// An open file of the operating system: opens with the flags that are right for this program, goes
// on reading and writing where a signal interrupted, closes. What goes wrong shows in the result,
// and errno says why: every caller has its own error for it. Local; one thread at a time, but for
// read_at().
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

#include "orrery/base/unique_handle.h"

namespace orrery::base {

struct FileDescriptorTraits {
  using Raw = int;
  static Raw none() { return -1; }
  static void close(Raw raw) noexcept;
};
using FileDescriptor = UniqueHandle<FileDescriptorTraits>;

class PosixFile {
 public:
  PosixFile() = default;  ///< none

  // Each is none where the file cannot be opened.

  /// Never waits: a pipe, and some files of /proc, would be waited for.
  static PosixFile open_to_read(const std::filesystem::path& file);
  /// Empty, whatever was there before.
  static PosixFile create(const std::filesystem::path& file);
  /// Made if need be; every write goes to its end.
  static PosixFile open_to_append(const std::filesystem::path& file);
  /// Made if need be.
  static PosixFile open_to_lock(const std::filesystem::path& file);
  /// To be synced.
  static PosixFile open_folder(const std::filesystem::path& folder);

  explicit operator bool() const { return static_cast<bool>(descriptor_); }
  int descriptor() const { return descriptor_.get(); }

  /// Bytes read, from where the last read ended: fewer than `n_bytes` at the end of the file only;
  /// -1: an error.
  int64_t read(void* to, size_t n_bytes) const;
  /// The same from `offset` on. Any thread.
  int64_t read_at(int64_t offset, void* to, size_t n_bytes) const;
  /// All of them; false: an error.
  bool write(std::string_view bytes) const;
  /// What was written is on the disk; false: an error.
  bool sync() const;

 private:
  explicit PosixFile(int descriptor) : descriptor_(descriptor) {}

  FileDescriptor descriptor_;
};

}  // namespace orrery::base
