// Models of real sizes on the first GPU: the figures of decoding and training of
// tools/gpu_check.sh, which says what they are. Usage: program.h.
#include "models.h"
#include "program.h"

namespace orrery::gpu_check {
namespace {

constexpr Part kParts[] = {{"decoding", check_decoding}, {"training", check_training}};

}  // namespace
}  // namespace orrery::gpu_check

int main(int argc, char** argv) {
  return orrery::gpu_check::run_program("model_check", orrery::gpu_check::kParts, argc, argv);
}
