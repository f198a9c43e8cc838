// Compares the CUDA kernels with the CPU's and times them, on the first GPU: the figures of kernels
// of tools/gpu_check.sh, which says what they are. Usage: program.h.
#include "program.h"

namespace orrery::gpu_check {
namespace {

// Allowances last: all kernels are loaded then.
constexpr Part kParts[] = {
    {"bandwidth", check_bandwidth},
    {"launches", check_launches},
    {"decode_attention", check_decode_attention},
    {"sampling", check_sampling},
    {"log_probs", check_log_probs},
    {"strided_copies", check_strided_copies},
    {"gae", check_gae},
    {"layers", check_layers},
    {"allowances", check_allowances},
};

}  // namespace
}  // namespace orrery::gpu_check

int main(int argc, char** argv) {
  return orrery::gpu_check::run_program("gpu_check", orrery::gpu_check::kParts, argc, argv);
}
