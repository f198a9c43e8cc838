// A pre-tokenized dataset, opened for reading: HDF5, in the form that docs/data.md describes. HDF5
// itself is asked once, at opening, where everything lies; then rows are read from their places in
// the file, by any thread and without HDF5's lock, which a checkpoint that is being written holds
// for as long as that takes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "orrery/base/file.h"  // PosixFile
#include "orrery/config/dataset_kind.h"
#include "orrery/data/token_table.h"

namespace orrery::data {

/// An open file and its name.
struct OpenFile {
  std::string path;
  base::PosixFile file;
  int64_t size_bytes = 0;
};

/// Numbers that lie in a file as they are, in one piece or in chunks of one size.
class StoredArray {
 public:
  StoredArray() = default;
  StoredArray(std::shared_ptr<const OpenFile> file, std::string name, int64_t size,
              int64_t element_bytes, int64_t chunk_size, std::vector<int64_t> chunks);

  int64_t size() const { return size_; }
  /// Such as `data.h5: prompt/values`.
  std::string place() const;
  /// Elements [first, first + out.size()). Throws DataError when they are not there.
  template <class T>
  void read(int64_t first, std::span<T> out) const {
    read_bytes(first, static_cast<int64_t>(out.size()), out.data());
  }

 private:
  void read_bytes(int64_t first, int64_t count, void* out) const;

  std::shared_ptr<const OpenFile> file_;
  std::string name_;  // such as prompt/values
  int64_t size_ = 0;
  int64_t element_bytes_ = 1;
  int64_t chunk_size_ = 1;       // elements
  std::vector<int64_t> chunks_;  // where each begins in the file
};

/// Entries of any length: entry i is values[offsets[i] .. offsets[i + 1]).
struct StoredColumn {
  StoredArray values;
  StoredArray offsets;

  int64_t size() const { return offsets.size() - 1; }
  /// Of int32 (tokens) or char (text). Throws DataError: damaged offsets, a file that shrank.
  template <class T>
  std::vector<T> read(int64_t entry) const {
    const auto [begin, count] = place_of(entry);
    std::vector<T> out(static_cast<std::size_t>(count));
    values.read<T>(begin, out);
    return out;
  }

  /// More would be damage: 2^26 tokens or bytes in one entry.
  static constexpr int64_t kMaxEntry = int64_t{1} << 26;

 private:
  struct Place {
    int64_t begin = 0;
    int64_t count = 0;
  };
  Place place_of(int64_t entry) const;
};

struct TokenFile {
  std::shared_ptr<const OpenFile> file;
  config::DatasetKind kind = config::DatasetKind::kPrompts;
  std::string source;  // the data file that it was made from; for messages
  int64_t n_records = 0;
  StoredColumn prompt;
  std::optional<StoredColumn> completion;  // completions; preferences: the better one
  std::optional<StoredColumn> rejected;    // preferences: the worse one
  std::optional<StoredColumn> answer;      // prompts, if any has one
  std::optional<StoredColumn> fields;      // prompts, if any has some
  std::optional<StoredArray> lines;        // of the source

  StoredColumn table;   // bytes of the tokens
  StoredArray special;  // uint8, by id
  int32_t bos = -1;
  std::vector<int32_t> eos;
  int32_t pad = -1;

  /// Throws DataError: cannot be read, no HDF5, damaged, of another form or version.
  static TokenFile open(const std::string& path);

  /// Throws DataError when it is damaged.
  std::unique_ptr<TokenTable> read_table() const;
};

/// Throws DataError: `path` is not a pre-tokenized dataset for this reason.
[[noreturn]] void throw_bad_token_file(const std::string& path, const std::string& problem,
                                       const std::string& expected, const std::string& got);

}  // namespace orrery::data
