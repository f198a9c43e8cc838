// Models in forms that are not read, told from what lies at their path.
#pragma once

#include <filesystem>

namespace orrery::model {

/// Throws ConfigError for a file (GGUF, one file of weights), a folder of the hub's cache, a folder
/// whose weights are no safetensors, or pointers of git LFS in their place: what it is and what to
/// name instead. Anything else is left to the readers. Looks at names and at a few bytes.
void refuse_foreign_model(const std::filesystem::path& path);

}  // namespace orrery::model
