// Exit codes in words, for logs.
#pragma once

#include <string>

namespace orrery {

/// `exit code 3 (a call failed)`.
std::string exit_text(int exit_code);

}  // namespace orrery
