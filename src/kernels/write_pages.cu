// Limit: latency; keys go into rows of 16 numbers, one of each. Nothing was measured: see
// docs/gpu.md.
#include "blocks/gpu_block.h"
#include "blocks/write_pages.h"

namespace orrery::kernels {

template <class T>
void write_pages_cuda(const WritePagesArgs<T>& args, cudaStream_t stream) {
  blocks::launch<blocks::WritePagesProgram<T>>(args, stream);
}

template void write_pages_cuda<float>(const WritePagesArgs<float>&, cudaStream_t);
template void write_pages_cuda<double>(const WritePagesArgs<double>&, cudaStream_t);
template void write_pages_cuda<Bf16>(const WritePagesArgs<Bf16>&, cudaStream_t);

}  // namespace orrery::kernels
