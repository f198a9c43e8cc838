// Rules that a program broke and that it may not have noticed: said on standard error, and kept for
// tests. Any thread.
#pragma once

#include <string>
#include <vector>

namespace orrery::simulated_gpu {

/// What a broken rule's line on standard error begins with; a test whose output has it has failed.
inline constexpr char kBrokenRule[] = "simulated GPU: broken rule: ";

void break_rule(const std::string& what);
/// Since the last call.
std::vector<std::string> take_broken_rules();

}  // namespace orrery::simulated_gpu
