// Limit: memory bandwidth. Every key and value is read once for all query heads that share it (8 at
// most). What else a cached number of Bf16 costs, with groups of 3 to 8 and a head_dim of 128:
//
//   shared memory   1.6 words loaded or stored (before numbers were kept in registers: 8). At 32 a
//                   clock, 132 multiprocessors and 1.75 GHz that is 9 TB/s, 7 with bank conflicts
//   instructions    8 multiply-adds, a conversion, about 2 of loads and the rest: 11. At 128 a
//                   clock: 5 TB/s
//
// So the instructions are the ceiling, and hardly above an H200's 4.8 TB/s; groups of 1 or 2 have a
// program of their own. What can keep it from that: loads on their way, 4 of 16 bytes for each of
// 384 threads of a multiprocessor, 25 kB; few sequences with few key/value heads, which do not fill
// the GPU before their contexts are long; a round's four barriers with contexts below 128 tokens.
// Nothing was measured: see docs/gpu.md.
#include "blocks/decode_attention.h"
#include "blocks/gpu_block.h"
#include "orrery/kernels/decode_attention.h"

namespace orrery::kernels {

namespace {

template <class T>
void check(const DecodeAttentionArgs<T>& args) {
  if (args.head_dim > blocks::kMaxHeadDim || args.n_heads % args.n_kv_heads != 0) {
    throw ShapeError(
        "decode attention on the GPU",
        ErrorDetail{"a head_dim of at most 256, and query heads a multiple of "
                    "key/value heads",
                    std::to_string(args.n_heads) + " heads of " + std::to_string(args.head_dim) +
                        " over " + std::to_string(args.n_kv_heads),
                    "compute this model on CPUs"});
  }
}

}  // namespace

template <class T>
void decode_attention_cuda(const DecodeAttentionArgs<T>& args, const AttentionParts<T>& parts,
                           cudaStream_t stream) {
  check(args);
  blocks::paged_attention(args, NewTokens<T>{}, parts, blocks::OnStream{stream});
}

template <class T>
void decode_new_tokens_cuda(const DecodeAttentionArgs<T>& args, const NewTokens<T>& tokens,
                            const AttentionParts<T>& parts, cudaStream_t stream) {
  check(args);
  blocks::paged_attention(args, tokens, parts, blocks::OnStream{stream});
}

#define ORRERY_DECODE_ATTENTION(T)                                                                \
  template void decode_attention_cuda<T>(const DecodeAttentionArgs<T>&, const AttentionParts<T>&, \
                                         cudaStream_t);                                           \
  template void decode_new_tokens_cuda<T>(const DecodeAttentionArgs<T>&, const NewTokens<T>&,     \
                                          const AttentionParts<T>&, cudaStream_t);
ORRERY_DECODE_ATTENTION(float)
ORRERY_DECODE_ATTENTION(double)
ORRERY_DECODE_ATTENTION(Bf16)
#undef ORRERY_DECODE_ATTENTION

}  // namespace orrery::kernels
