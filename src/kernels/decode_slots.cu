// Limit: latency; a few numbers a sequence. Nothing was measured: see docs/gpu.md.
#include "blocks/decode_slots.h"
#include "blocks/gpu_block.h"

namespace orrery::kernels {

void change_slots_cuda(const ChangeSlotsArgs& args, cudaStream_t stream) {
  blocks::launch<blocks::ChangeSlotsProgram>(args, stream);
}

void begin_step_cuda(const BeginStepArgs& args, cudaStream_t stream) {
  blocks::launch<blocks::BeginStepProgram>(args, stream);
}

void end_step_cuda(const EndStepArgs& args, cudaStream_t stream) {
  blocks::launch<blocks::EndStepProgram>(args, stream);
}

}  // namespace orrery::kernels
