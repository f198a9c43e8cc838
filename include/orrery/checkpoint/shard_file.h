// One HDF5 file of a checkpoint: the slabs and blobs of one rank.
//
//   /slabs/actor/parameters/model.norm.weight@0,0   [n_rows, n_columns], chunked
//       attributes: rows, columns, first_row, first_column, dtype, xxh3 (of the data)
//   /blobs/call/actor_train                         [bytes] uint8, attribute xxh3
//
// Each object belongs to one thread, and all HDF5 calls of a process take turns.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/checkpoint/slab.h"

namespace orrery::checkpoint {

/// A file as the manifest has it.
struct FileRecord {
  std::string name;   ///< within the checkpoint's directory
  uint64_t size = 0;  ///< bytes
  uint64_t hash = 0;  ///< XXH3 of all bytes

  bool operator==(const FileRecord&) const = default;
};

/// Size and hash of a file as it is on disk now. Throws OutputError when it cannot be read.
FileRecord record_of(const std::filesystem::path& file);

enum class Compression {
  kNone,
  kDeflate,  ///< shuffled bytes, zlib level 1: smaller by a tenth or so, many times slower
};

class ShardWriter {
 public:
  /// Creates the file. Throws CheckpointError.
  explicit ShardWriter(std::filesystem::path file, Compression compression = Compression::kNone);
  /// Without finish() the file is removed.
  ~ShardWriter();
  ShardWriter(const ShardWriter&) = delete;
  ShardWriter& operator=(const ShardWriter&) = delete;

  /// `data`: slab.numel() elements, row-major. Nothing is written of an empty slab.
  void add(const Slab& slab, const void* data);
  void add_blob(const std::string& name, std::string_view bytes);

  /// Closes and syncs the file, and reads it again for its hash. Call once, last.
  /// Throws CheckpointError, as the others do, with HDF5's reason ("No space left on device").
  FileRecord finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class ShardReader {
 public:
  /// Opens a file, best one whose record has been checked (see directory.h): what HDF5 finds by its
  /// own checksums is damage to names and sizes, not to numbers. Throws CheckpointError naming file
  /// and object; allocates no more than the file can hold.
  explicit ShardReader(std::filesystem::path file);
  ~ShardReader();
  ShardReader(ShardReader&&) noexcept;
  ShardReader& operator=(ShardReader&&) noexcept;

  const std::vector<Slab>& slabs() const;
  /// Names of the blobs, ascending.
  std::vector<std::string> blobs() const;
  std::string blob(const std::string& name) const;

  /// Part of slab number `index`, in coordinates of the whole matrix and inside the slab, into
  /// `out`, whose rows are `out_columns` elements apart. The numbers of a slab are compared with
  /// their own hash when it is first read: a manifest can be made anew for changed files. Throws
  /// CheckpointError.
  struct Part {
    int64_t first_row = 0;
    int64_t first_column = 0;
    int64_t n_rows = 0;
    int64_t n_columns = 0;
  };
  void read(size_t index, const Part& part, void* out, int64_t out_columns) const;

  /// All of slab number `index`, whole rows at a time and in their order: `take(row, n_rows, read)`
  /// is called for at most `max_rows` of them, counted from the slab's first, and calls `read(out)`
  /// for the n_rows x n_columns numbers. They are compared with their hash behind the last of them,
  /// so nothing that was taken may be believed before this returns. Throws CheckpointError.
  using ReadRows = std::function<void(void* out)>;
  using TakeRows = std::function<void(int64_t row, int64_t n_rows, const ReadRows& read)>;
  void read_rows(size_t index, int64_t max_rows, const TakeRows& take) const;

  /// Reads everything and compares it with the hashes that were taken from memory when it was
  /// written. Throws CheckpointError for the first that differs.
  void verify() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace orrery::checkpoint
