// What lies in a Hugging Face directory and is not used. Rank 0; reads headers, and of weights no
// more than some MiB.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "orrery/model/architecture.h"

namespace orrery::model {

/// What someone who made the directory may believe to be used and is not, one sentence each:
/// weights beside those that are read, adapters, a head of its own where the head is tied to the
/// embedding. The directory has passed the check above.
std::vector<std::string> unused_in_hf_directory(const std::filesystem::path& directory,
                                                const Architecture& architecture);

}  // namespace orrery::model
