// Which program (src/kernels/blocks) a kernel that nvcc compiled is: launches of the kernel run the
// program on the CPU, block after block.
#pragma once

#include <functional>
#include <string>

#include "streams.h"

namespace orrery::simulated_gpu {

/// What a launch hands over. `arguments` is the kernel's only one, a struct; it is copied at once.
struct Launch {
  const void* arguments = nullptr;
  unsigned n_blocks = 1, n_threads = 1;
  Stream stream = 0;
};

/// Enqueues the run of the launch. False: the grid is not the one that the program has for these
/// arguments.
using Launcher = std::function<bool(const Launch&)>;

/// `name` as the compiler mangles that of the kernel.
void offer_kernel(const std::string& name, Launcher launcher);
/// Null: nobody has offered it.
const Launcher* find_kernel(const std::string& name);

}  // namespace orrery::simulated_gpu
