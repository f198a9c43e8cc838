// What `inspect` and `verify` find at a path.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace orrery::cli {

enum class PathKind { kHuggingFace, kCheckpoint, kRun, kSafetensors, kHdf5 };

/// By what is in it, not by its name. Throws ConfigError for a path that is not there or not known.
PathKind kind_of_path(const std::filesystem::path& path);

/// Tables of what the path holds. Throws CheckpointError when a part of it cannot be read.
std::string contents_text(const std::filesystem::path& path);

/// Whether weights are read, too, to look for NaN and infinity.
enum class WeightCheck { kHeadersOnly, kReadAll };

/// What is wrong, one line each; empty: all is well. `report` of what was looked at goes to
/// standard output.
std::vector<std::string> problems_of(const std::filesystem::path& path, WeightCheck check);

}  // namespace orrery::cli
