// Files by which the kernel tells of the machine, under /sys and /proc: where one is missing or may
// not be read, as in containers, it tells nothing, and that is no error.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace orrery::base {

/// The text of the file without spaces and line ends around it; at most its first 4 KiB, which is
/// as much as sysfs gives.
std::string system_text(const std::filesystem::path& file);

/// What list_folder() finds there.
std::vector<std::filesystem::path> system_folder(const std::filesystem::path& folder);

}  // namespace orrery::base
