// Limit: latency. A sequence is one block and its chunks of 128 actions wait for each other; a
// batch of hundreds of sequences of hundreds of actions is a few megabytes, a matter of
// microseconds at the memory's rate. Nothing was measured: see docs/gpu.md.
#include "blocks/gae.h"
#include "blocks/gpu_block.h"
#include "orrery/kernels/gae.h"

namespace orrery::kernels {

template <class T>
void gae_cuda(const GaeArgs<T>& args, cudaStream_t stream) {
  blocks::launch<blocks::GaeProgram<T>>(args, stream);
}

template void gae_cuda<float>(const GaeArgs<float>&, cudaStream_t);
template void gae_cuda<double>(const GaeArgs<double>&, cudaStream_t);

}  // namespace orrery::kernels
