// Reads named matrices out of a checkpoint, from whichever files hold them. Files are opened when
// their content is needed for the first time. One thread.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "orrery/checkpoint/manifest.h"
#include "orrery/checkpoint/shard_file.h"

namespace orrery::checkpoint {

class CheckpointReader {
 public:
  /// Reads the manifest. Sizes of files are checked as they are opened, hashes are not:
  /// problem_of() each file before, where it matters. Throws CheckpointError.
  explicit CheckpointReader(std::filesystem::path directory);

  const Manifest& manifest() const { return manifest_; }
  const std::filesystem::path& directory() const { return directory_; }

  bool has(const std::string& name);
  /// Names of all matrices.
  std::vector<std::string> names();
  /// One slab of it, which tells type and size of the whole. Throws CheckpointError if there is
  /// none.
  const Slab& description(const std::string& name);

  /// The rectangle that `wanted` names, row-major and without gaps, into `out`: rows, columns and
  /// dtype must be those of the checkpoint. Throws CheckpointError naming the matrix when it is not
  /// there, has another size or type, or when a part of the rectangle is in no file.
  void read(const Slab& wanted, void* out);

  /// The same in pieces of whole rows, in their order, as ShardReader::read_rows(): rows are
  /// counted from the rectangle's first.
  void read_rows(const Slab& wanted, int64_t max_rows, const ShardReader::TakeRows& take);

  /// The blob of that name from the first file that has it.
  std::optional<std::string> blob(const std::string& name);

 private:
  struct Place {
    size_t file = 0;
    size_t slab = 0;
  };
  void open_all();

  std::filesystem::path directory_;
  Manifest manifest_;
  std::vector<ShardReader> files_;
  std::map<std::string, std::vector<Place>> places_;
  bool is_open_ = false;
};

}  // namespace orrery::checkpoint
