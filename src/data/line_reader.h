// The lines of a file one after another, with their offsets, through one buffer: a file of any
// size, and lines up to a limit. Local; one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "orrery/base/file.h"  // PosixFile

namespace orrery::data {

struct Line {
  std::string_view text;     // without \n or \r\n; valid until the next call
  int64_t offset = 0;        // of its first byte
  int64_t number = 0;        // from 1
  bool is_too_long = false;  // then `text` is only its beginning
};

class LineReader {
 public:
  static constexpr std::size_t kMaxLineBytes = std::size_t{64} << 20;

  /// Throws DataError naming the path and why: missing, a directory, no permission.
  explicit LineReader(std::filesystem::path file);

  /// The next line into `line`; false at the end. Throws DataError when reading fails.
  bool next(Line& line);

  /// Bytes read so far: at the end, the size of the file.
  int64_t position() const { return buffer_offset_ + static_cast<int64_t>(end_); }

 private:
  bool fill();

  std::filesystem::path path_;
  base::PosixFile file_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;  // of what is not yet given out
  std::size_t end_ = 0;
  int64_t buffer_offset_ = 0;  // of buffer_[0] in the file
  int64_t lines_ = 0;
};

/// Opens a data file for reading. Throws DataError naming the path and why.
base::PosixFile open_data_file(const std::filesystem::path& file);

}  // namespace orrery::data
