// What a build without CUDA has in the place of kernels: no GPU is found, and whoever insists is
// told why there is none.
#include "orrery/base/error.h"
#include "orrery/kernels/decode_attention.h"
#include "orrery/kernels/gae.h"
#include "orrery/kernels/gpu.h"
#include "orrery/kernels/sample_rows.h"
#include "orrery/kernels/strided_copy.h"
#include "orrery/kernels/token_log_probs.h"

namespace orrery::kernels {

namespace {

[[noreturn]] void refuse(const char* what) {
  throw CallError(what, {.expected = "a build with CUDA",
                         .got = "one without",
                         .advice = "build with `cmake --preset cuda`"});
}

}  // namespace

int gpu_count() { return 0; }
std::string why_no_gpu() { return "this build has no CUDA (ORRERY_CUDA is off)"; }
void use_gpu(int) { refuse("use of a GPU"); }
void* allocate_on_gpu(std::size_t) { refuse("memory of a GPU"); }
void free_on_gpu(void*) noexcept {}
void copy_to_gpu(void*, const void*, std::size_t) { refuse("copy to a GPU"); }
void copy_from_gpu(void*, const void*, std::size_t) { refuse("copy from a GPU"); }
void wait_for_gpu() { refuse("wait for a GPU"); }

template <class T>
void gae_cuda(const GaeArgs<T>&, cudaStream_t) {
  refuse("gae on a GPU");
}
template <class T>
void token_log_probs_cuda(const TokenLogProbsArgs<T>&, cudaStream_t) {
  refuse("log-probabilities on a GPU");
}
template <class T>
void token_log_probs_backward_cuda(const TokenLogProbsBackwardArgs<T>&, cudaStream_t) {
  refuse("gradients of log-probabilities on a GPU");
}
template <class T>
void sample_rows_cuda(const SampleRowsArgs<T>&, cudaStream_t) {
  refuse("sampling on a GPU");
}
template <class T>
void decode_attention_cuda(const DecodeAttentionArgs<T>&, const AttentionSplits&, cudaStream_t) {
  refuse("decode attention on a GPU");
}
template <class Source, class Wire>
void pack_cuda(const PackArgs<Source, Wire>&, cudaStream_t) {
  refuse("packing on a GPU");
}
template <class Wire, class Destination>
void unpack_cuda(const UnpackArgs<Wire, Destination>&, cudaStream_t) {
  refuse("unpacking on a GPU");
}

#define ORRERY_INSTANTIATE_REAL(T)                                                    \
  template void gae_cuda<T>(const GaeArgs<T>&, cudaStream_t);                         \
  template void token_log_probs_cuda<T>(const TokenLogProbsArgs<T>&, cudaStream_t);   \
  template void token_log_probs_backward_cuda<T>(const TokenLogProbsBackwardArgs<T>&, \
                                                 cudaStream_t);                       \
  template void sample_rows_cuda<T>(const SampleRowsArgs<T>&, cudaStream_t);
ORRERY_INSTANTIATE_REAL(float)
ORRERY_INSTANTIATE_REAL(double)
template void decode_attention_cuda<float>(const DecodeAttentionArgs<float>&,
                                           const AttentionSplits&, cudaStream_t);
template void decode_attention_cuda<Bf16>(const DecodeAttentionArgs<Bf16>&, const AttentionSplits&,
                                          cudaStream_t);
#define ORRERY_INSTANTIATE_PAIR(From, To)                                     \
  template void pack_cuda<From, To>(const PackArgs<From, To>&, cudaStream_t); \
  template void unpack_cuda<From, To>(const UnpackArgs<From, To>&, cudaStream_t);
ORRERY_STRIDED_TYPES(ORRERY_INSTANTIATE_PAIR)

}  // namespace orrery::kernels
