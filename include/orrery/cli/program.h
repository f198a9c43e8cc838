// The program `orrery`, for programs that add to it: docs/extending.md.
#pragma once

#include <functional>

namespace orrery::cli {

/// Runs the command in the arguments of main() and turns any error into one message and its exit
/// code: 0 done, 2 bad configuration or usage, 3 a call failed, 4 a peer died or a deadline passed,
/// 5 output or checkpoint could not be written or read, 85 stopped on purpose. `register_more`
/// comes before anything is read: it may call algorithm::register_interface.
int run(int argc, char** argv, const std::function<void()>& register_more = {});

}  // namespace orrery::cli
