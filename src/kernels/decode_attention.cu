// Limit: memory bandwidth. Every key and value is read once for all query heads that share it; per
// number read there are 2 multiply-adds a query head, so groups up to 8 stay below what the
// arithmetic units give. What can keep it from that limit: few sequences with few key/value heads
// do not fill the GPU (then splits), and a round's three barriers with contexts below 128 tokens.
// Nothing was measured: see docs/gpu.md.
#include "blocks/decode_attention.h"
#include "blocks/gpu_block.h"
#include "orrery/kernels/decode_attention.h"

namespace orrery::kernels {

template <class T>
void decode_attention_cuda(const DecodeAttentionArgs<T>& args, const AttentionSplits<T>& splits,
                           cudaStream_t stream) {
  if (args.head_dim > blocks::kMaxHeadDim || args.n_heads % args.n_kv_heads != 0) {
    throw ShapeError(
        "decode attention on the GPU",
        ErrorDetail{"a head_dim of at most 256, and query heads a multiple of "
                    "key/value heads",
                    std::to_string(args.n_heads) + " heads of " + std::to_string(args.head_dim) +
                        " over " + std::to_string(args.n_kv_heads),
                    "compute this model on CPUs"});
  }
  blocks::PagedAttentionArgs<T> paged;
  paged.of = args;
  paged.partials = splits.partials;
  paged.n_splits = splits.count;
  blocks::launch<blocks::PagedAttentionProgram<T>>(paged, stream);
  blocks::launch<blocks::JoinSplitsProgram<T>>(paged, stream);
}

#define ORRERY_DECODE_ATTENTION(T)                                                                 \
  template void decode_attention_cuda<T>(const DecodeAttentionArgs<T>&, const AttentionSplits<T>&, \
                                         cudaStream_t);
ORRERY_DECODE_ATTENTION(float)
ORRERY_DECODE_ATTENTION(double)
ORRERY_DECODE_ATTENTION(Bf16)
#undef ORRERY_DECODE_ATTENTION

}  // namespace orrery::kernels
