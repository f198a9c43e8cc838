// What the programs of figures have in common: their command line, and the GPU that they check.
//
//   PROGRAM --out FILE [--seconds N] [--sizes full|small] [--taken-before BYTES] [--fixtures DIR]
//           [--only PART,...]
//     --seconds       what would begin later is left out (300)
//     --sizes         full, or small on a simulated GPU
//     --taken-before  bytes of the GPU that were taken before this program began (0)
//     --fixtures      tests/fixtures: sizes of models
//     --only          machine (its description alone), or of the program's parts
//
// exit code: 0 all passed, 1 a figure failed, 2 bad usage or no GPU, 5 FILE cannot be written
#pragma once

#include <span>
#include <string_view>

#include "check.h"

namespace orrery::gpu_check {

struct Part {
  std::string_view name;
  void (*run)(Check&);
};

/// main() of the program `name`: its parts one after another on the first GPU.
int run_program(std::string_view name, std::span<const Part> parts, int argc, char** argv);

}  // namespace orrery::gpu_check
