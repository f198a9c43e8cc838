// Limit: memory bandwidth, 28 bytes a parameter in fp32; with moments of bf16 20, beside 40 32-bit
// multiplications for the bits of their rounding. Nothing was measured: see docs/gpu.md.
#include "blocks/adamw.h"
#include "blocks/gpu_block.h"

namespace orrery::kernels {

template <class T, class G, class M>
void adamw_cuda(const AdamWArgs<T, G, M>& args, cudaStream_t stream) {
  blocks::launch<blocks::AdamWProgram<T, G, M>>(args, stream);
}

#define ORRERY_ADAMW(T, G, M) \
  template void adamw_cuda<T, G, M>(const AdamWArgs<T, G, M>&, cudaStream_t);
ORRERY_ADAMW_TYPES(ORRERY_ADAMW)
#undef ORRERY_ADAMW

}  // namespace orrery::kernels
