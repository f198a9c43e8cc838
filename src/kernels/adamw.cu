// Limit: memory bandwidth, 28 bytes a parameter in fp32. Nothing was measured: see docs/gpu.md.
#include "blocks/adamw.h"
#include "blocks/gpu_block.h"

namespace orrery::kernels {

template <class T, class G>
void adamw_cuda(const AdamWArgs<T, G>& args, cudaStream_t stream) {
  blocks::launch<blocks::AdamWProgram<T, G>>(args, stream);
}

template void adamw_cuda<float, float>(const AdamWArgs<float, float>&, cudaStream_t);
template void adamw_cuda<float, Bf16>(const AdamWArgs<float, Bf16>&, cudaStream_t);
template void adamw_cuda<double, double>(const AdamWArgs<double, double>&, cudaStream_t);

}  // namespace orrery::kernels
