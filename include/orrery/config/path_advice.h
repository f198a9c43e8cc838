// What to say about a path that does not exist, if what was written tells what was meant.
#pragma once

#include <string>
#include <string_view>

namespace orrery::config {

/// `; ...` for a name on the Hugging Face hub, an address, a home directory or a variable that only
/// a shell would have replaced; else empty.
///   written  as the file says it
std::string path_advice(std::string_view written);

}  // namespace orrery::config
