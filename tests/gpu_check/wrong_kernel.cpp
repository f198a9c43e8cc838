// To be loaded after the simulated GPU: GAE of float ends without having computed anything, as a
// kernel that was compiled wrong might.
#include "kernels.h"

namespace {

const bool is_wrong = [] {
  orrery::simulated_gpu::offer_kernel(
      "_ZN6orrery7kernels6blocks11run_programINS1_10GaeProgramIfEEEEvNT_4ArgsE",
      [](const orrery::simulated_gpu::Launch&) { return true; });
  return true;
}();

}  // namespace
