// What makes a directory a checkpoint: manifest.json names every file with its size and hash. It is
// written last and carries its own hash, so a directory without a sound one is no checkpoint.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "orrery/checkpoint/shard_file.h"

namespace orrery::checkpoint {

inline constexpr int kFormat =
    1;  ///< of the directory and its files; readers know all up to theirs

struct Manifest {
  int64_t step = 0;
  std::string program = {};                         ///< Orrery's version that wrote it
  std::string config_hash = {};                     ///< XXH3 of the resolved configuration
  std::map<std::string, std::string> layouts = {};  ///< by role: where its parameters were
  /// By worker: what it computed with (kernels/instruction_set.h). Empty: not known, as in
  /// checkpoints of the version before and in converted models.
  std::vector<std::string> instruction_sets = {};
  std::vector<FileRecord> files = {};

  bool operator==(const Manifest&) const = default;
};

std::string manifest_text(const Manifest& manifest);

/// Throws CheckpointError for whatever is not exactly what manifest_text() gives: another hash, a
/// missing or mistyped field, a file name with anything but letters, digits, `.`, `_` and `-` (no
/// path leaves the directory). Throws OutputError for a newer format: that is no damage.
///   where  in front of error texts
Manifest parse_manifest(const std::string& text, const std::string& where);

/// Of a checkpoint's directory. Throws also OutputError when it is there and cannot be read.
Manifest read_manifest(const std::filesystem::path& directory);

}  // namespace orrery::checkpoint
