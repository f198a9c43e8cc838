// Limit: memory bandwidth in training, latency when decoding (256 sequences are a few thousand
// small blocks). Backward turns a head back in memory, which the L1 cache holds for its norm.
// Nothing was measured: see docs/gpu.md.
#include "blocks/gpu_block.h"
#include "blocks/rotate_heads.h"

namespace orrery::kernels {

template <class T>
void rotate_heads_cuda(const RotateHeadsArgs<T>& args, cudaStream_t stream) {
  blocks::launch<blocks::RotateHeadsProgram<T>>(args, stream);
}

template <class T>
void rotate_heads_backward_cuda(const RotateHeadsBackwardArgs<T>& args, cudaStream_t stream) {
  blocks::rotate_heads_backward(args, blocks::OnStream{stream});
}

#define ORRERY_ROTATE_HEADS(T)                                                 \
  template void rotate_heads_cuda<T>(const RotateHeadsArgs<T>&, cudaStream_t); \
  template void rotate_heads_backward_cuda<T>(const RotateHeadsBackwardArgs<T>&, cudaStream_t);
ORRERY_ROTATE_HEADS(float)
ORRERY_ROTATE_HEADS(double)
ORRERY_ROTATE_HEADS(Bf16)
#undef ORRERY_ROTATE_HEADS

}  // namespace orrery::kernels
