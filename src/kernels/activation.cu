// Limit: memory bandwidth; every matrix is read or written once. Nothing was measured: see
// docs/gpu.md.
#include "blocks/activation.h"
#include "blocks/gpu_block.h"

namespace orrery::kernels {

template <class T>
void activate_cuda(const ActivateArgs<T>& args, cudaStream_t stream) {
  blocks::launch<blocks::ActivateProgram<T>>(args, stream);
}

template <class T>
void activate_backward_cuda(const ActivateBackwardArgs<T>& args, cudaStream_t stream) {
  blocks::launch<blocks::ActivateBackwardProgram<T>>(args, stream);
}

#define ORRERY_ACTIVATE(T)                                              \
  template void activate_cuda<T>(const ActivateArgs<T>&, cudaStream_t); \
  template void activate_backward_cuda<T>(const ActivateBackwardArgs<T>&, cudaStream_t);
ORRERY_ACTIVATE(float)
ORRERY_ACTIVATE(double)
ORRERY_ACTIVATE(Bf16)
#undef ORRERY_ACTIVATE

}  // namespace orrery::kernels
