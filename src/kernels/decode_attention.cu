// Limit: memory bandwidth. Every key and value is read once for all query heads that share it (8 at
// most). What else a cached number of Bf16 costs with 8 of them and a head_dim of 128, where 132
// multiprocessors at 1.75 GHz do 128 instructions and 32 words of shared memory a clock each:
//
//                   plain                             on tensor cores (groups of 4 and more)
//   shared memory   1.6 words: 9 TB/s, 7 with bank    0.3 words: 49 TB/s
//                   conflicts
//   instructions    8 multiply-adds, a conversion,    0.12 loads, 0.5 exchanges of halves, 0.19
//                   about 2 of loads and the rest:    products; with what is done for scores and
//                   11, 5 TB/s                        weights 1.7: 35 TB/s
//   products        -                                 24 operations of 990 TFLOP/s: 82 TB/s
//
// So without tensor cores the instructions are the ceiling, and hardly above an H200's 4.8 TB/s;
// with them memory is. Groups of 1 or 2 have a program of their own, whose sums are fewer. What can
// keep it from that: loads on their way, 4 of 16 bytes for each of 384 threads of a multiprocessor,
// 25 kB, on tensor cores 8, 49 kB; few sequences with few key/value heads, which do not fill the
// GPU before their contexts are long; a round's barriers with contexts below 128 tokens. Nothing
// was measured: see docs/gpu.md.
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

blocks::TensorCores tensor_cores() {
  int device = 0, major = 0;
  ORRERY_CUDA(cudaGetDevice(&device));
  ORRERY_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  return major >= 8 ? blocks::TensorCores::kBf16 : blocks::TensorCores::kNone;
}

}  // namespace

template <class T>
void decode_attention_cuda(const DecodeAttentionArgs<T>& args, const AttentionParts<T>& parts,
                           cudaStream_t stream) {
  check(args);
  blocks::paged_attention(args, NewTokens<T>{}, parts, blocks::OnStream{stream}, tensor_cores());
}

template <class T>
void decode_new_tokens_cuda(const DecodeAttentionArgs<T>& args, const NewTokens<T>& tokens,
                            const AttentionParts<T>& parts, cudaStream_t stream) {
  check(args);
  blocks::paged_attention(args, tokens, parts, blocks::OnStream{stream}, tensor_cores());
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
