// Limit: everything; keys are read again for every query. For parity and small models. Nothing was
// measured: see docs/gpu.md.
#include "blocks/gpu_block.h"
#include "blocks/varlen_attention.h"

namespace orrery::kernels {

namespace {

void check_head_dim(const AttentionShape& shape) {
  if (shape.head_dim <= blocks::kMostHeadNumbers) return;
  throw ShapeError("attention on a GPU",
                   {.expected = "a head_dim of at most " + std::to_string(blocks::kMostHeadNumbers),
                    .got = std::to_string(shape.head_dim),
                    .advice = "compute this model on CPUs"});
}

}  // namespace

template <class T>
void varlen_attention_cuda(const VarlenAttentionArgs<T>& args, cudaStream_t stream) {
  check_head_dim(args.shape);
  blocks::launch<blocks::VarlenAttentionProgram<T>>(args, stream);
}

template <class T>
void varlen_attention_backward_cuda(const VarlenAttentionBackwardArgs<T>& args,
                                    cudaStream_t stream) {
  check_head_dim(args.shape);
  blocks::varlen_attention_backward(args, blocks::OnStream{stream});
}

#define ORRERY_VARLEN_ATTENTION(T)                                                       \
  template void varlen_attention_cuda<T>(const VarlenAttentionArgs<T>&, cudaStream_t);   \
  template void varlen_attention_backward_cuda<T>(const VarlenAttentionBackwardArgs<T>&, \
                                                  cudaStream_t);
ORRERY_VARLEN_ATTENTION(float)
ORRERY_VARLEN_ATTENTION(double)
ORRERY_VARLEN_ATTENTION(Bf16)
#undef ORRERY_VARLEN_ATTENTION

}  // namespace orrery::kernels
