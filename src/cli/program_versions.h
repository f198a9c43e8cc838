// What this program is made of.
#pragma once

#include <string>

namespace orrery::cli {

/// Of Orrery.
std::string program_version();
/// The version and the linker's mark of this very build: `0.1.0, build 3f9c...`.
std::string program_build();
/// One line, the same for the same build.
std::string versions_line();
/// A line for each part.
std::string versions_text();

}  // namespace orrery::cli
