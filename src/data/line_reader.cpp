#include "line_reader.h"

#include <cerrno>
#include <cstring>  // memchr, memmove
#include <system_error>
#include <utility>

#include "orrery/base/error.h"  // DataError
#include "orrery/base/text.h"   // concat

namespace orrery::data {

namespace {

constexpr std::size_t kFirstBufferBytes = std::size_t{1} << 20;

[[noreturn]] void fail(const std::filesystem::path& file, const std::string& got) {
  throw DataError(base::concat("cannot read data file ", file.string()),
                  {.expected = "a readable file of JSON lines",
                   .got = got,
                   .advice = "check dataset.NAME.path"});
}

}  // namespace

base::PosixFile open_data_file(const std::filesystem::path& file) {
  // Rows are read at their places, again and again: of a pipe or a device there are none.
  if (const std::string kind = base::special_kind(file); !kind.empty()) {
    fail(file, kind == "a folder" ? std::generic_category().message(EISDIR) : kind);
  }
  base::PosixFile opened = base::PosixFile::open_to_read(file);
  if (!opened) fail(file, std::generic_category().message(errno));
  return opened;
}

LineReader::LineReader(std::filesystem::path file)
    : path_(std::move(file)), file_(open_data_file(path_)), buffer_(kFirstBufferBytes) {}

/// Makes room behind what is not yet given out and reads more; false at the end of the file.
bool LineReader::fill() {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    buffer_offset_ += static_cast<int64_t>(begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == buffer_.size()) buffer_.resize(2 * buffer_.size());
  const int64_t count = file_.read(buffer_.data() + end_, buffer_.size() - end_);
  if (count < 0) fail(path_, std::generic_category().message(errno));
  end_ += static_cast<std::size_t>(count);
  return count > 0;
}

bool LineReader::next(Line& line) {
  std::size_t searched = 0;  // from begin_
  line.is_too_long = false;
  line.number = lines_ + 1;
  line.offset = buffer_offset_ + static_cast<int64_t>(begin_);
  while (true) {
    const char* first = buffer_.data() + begin_;
    const auto* newline =
        static_cast<const char*>(std::memchr(first + searched, '\n', end_ - begin_ - searched));
    if (newline != nullptr) {
      std::size_t size = static_cast<std::size_t>(newline - first);
      begin_ += size + 1;
      if (size > kMaxLineBytes) line.is_too_long = true;  // the buffer may have held more
      if (size > 0 && first[size - 1] == '\r') --size;
      line.text = {first, size};
      break;
    }
    searched = end_ - begin_;
    if (searched > kMaxLineBytes) {
      // Forget what was read of it: only its end is still of interest.
      line.is_too_long = true;
      begin_ = end_;
      searched = 0;
    }
    if (fill()) continue;
    if (begin_ == end_ && !line.is_too_long) return false;
    line.text = {buffer_.data() + begin_, end_ - begin_};  // a last line without \n
    begin_ = end_;
    break;
  }
  ++lines_;
  return true;
}

}  // namespace orrery::data
