// What a build without CUDA has in the place of kernels: no GPU is found, and whoever insists is
// told why there is none.
#include "orrery/base/error.h"
#include "orrery/kernels/activation.h"
#include "orrery/kernels/adamw.h"
#include "orrery/kernels/column_sums.h"
#include "orrery/kernels/decode_attention.h"
#include "orrery/kernels/decode_slots.h"
#include "orrery/kernels/gae.h"
#include "orrery/kernels/gpu.h"
#include "orrery/kernels/indexed_rows.h"
#include "orrery/kernels/norm_rows.h"
#include "orrery/kernels/rotate_heads.h"
#include "orrery/kernels/route_rows.h"
#include "orrery/kernels/sample_rows.h"
#include "orrery/kernels/strided_copy.h"
#include "orrery/kernels/token_log_probs.h"
#include "orrery/kernels/varlen_attention.h"
#include "orrery/kernels/write_pages.h"

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
std::string gpu_pci_id(int) { refuse("the place of a GPU"); }
int64_t gpu_memory_bytes(int) { refuse("the memory of a GPU"); }
int gpu_compute_capability(int) { refuse("the compute capability of a GPU"); }
CudaVersions cuda_versions() { return {}; }
void use_gpu(int) { refuse("use of a GPU"); }
void* allocate_on_gpu(std::size_t) { refuse("memory of a GPU"); }
void free_on_gpu(void*) noexcept {}
void copy_to_gpu(void*, const void*, std::size_t) { refuse("copy to a GPU"); }
void copy_from_gpu(void*, const void*, std::size_t) { refuse("copy from a GPU"); }
void* allocate_pinned(std::size_t) { refuse("pinned memory"); }
void free_pinned(void*) noexcept {}
std::string why_gpu_is_lost() { return {}; }
void enqueue_copy_to_gpu(void*, const void*, std::size_t, cudaStream_t) { refuse("copy to a GPU"); }
void enqueue_copy_from_gpu(void*, const void*, std::size_t, cudaStream_t) {
  refuse("copy from a GPU");
}
void wait_for_gpu() { refuse("wait for a GPU"); }

void change_slots_cuda(const ChangeSlotsArgs&, cudaStream_t) { refuse("decoding on a GPU"); }
void begin_step_cuda(const BeginStepArgs&, cudaStream_t) { refuse("decoding on a GPU"); }
void end_step_cuda(const EndStepArgs&, cudaStream_t) { refuse("decoding on a GPU"); }

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
void norm_rows_cuda(const NormRowsArgs<T>&, cudaStream_t) {
  refuse("a norm on a GPU");
}
template <class T>
void norm_rows_backward_cuda(const NormRowsBackwardArgs<T>&, cudaStream_t) {
  refuse("gradients of a norm on a GPU");
}
template <class T>
void add_column_sums_cuda(const ColumnSumsArgs<T>&, cudaStream_t) {
  refuse("sums of columns on a GPU");
}
template <class T>
void activate_cuda(const ActivateArgs<T>&, cudaStream_t) {
  refuse("an activation function on a GPU");
}
template <class T>
void activate_backward_cuda(const ActivateBackwardArgs<T>&, cudaStream_t) {
  refuse("gradients of an activation function on a GPU");
}
template <class T>
void take_rows_cuda(const TakeRowsArgs<T>&, cudaStream_t) {
  refuse("taking rows on a GPU");
}
template <class T>
void put_rows_cuda(const PutRowsArgs<T>&, cudaStream_t) {
  refuse("putting rows on a GPU");
}
template <class T, class G>
void add_rows_cuda(const AddRowsArgs<T, G>&, cudaStream_t) {
  refuse("adding rows on a GPU");
}
template <class T>
void rotate_heads_cuda(const RotateHeadsArgs<T>&, cudaStream_t) {
  refuse("rotary positions on a GPU");
}
template <class T>
void rotate_heads_backward_cuda(const RotateHeadsBackwardArgs<T>&, cudaStream_t) {
  refuse("gradients of rotary positions on a GPU");
}
template <class T>
void route_rows_cuda(const RouteRowsArgs<T>&, cudaStream_t) {
  refuse("the choice of experts on a GPU");
}
template <class T>
void route_rows_backward_cuda(const RouteRowsBackwardArgs<T>&, cudaStream_t) {
  refuse("gradients of the choice of experts on a GPU");
}
template <class T>
void varlen_attention_cuda(const VarlenAttentionArgs<T>&, cudaStream_t) {
  refuse("attention on a GPU");
}
template <class T>
void varlen_attention_backward_cuda(const VarlenAttentionBackwardArgs<T>&, cudaStream_t) {
  refuse("gradients of attention on a GPU");
}
template <class T>
void write_pages_cuda(const WritePagesArgs<T>&, cudaStream_t) {
  refuse("writing pages on a GPU");
}
template <class T, class G, class M>
void adamw_cuda(const AdamWArgs<T, G, M>&, cudaStream_t) {
  refuse("AdamW on a GPU");
}
template <class T>
void sample_rows_cuda(const SampleRowsArgs<T>&, cudaStream_t) {
  refuse("sampling on a GPU");
}
template <class T>
void decode_attention_cuda(const DecodeAttentionArgs<T>&, const AttentionParts<T>&, cudaStream_t) {
  refuse("decode attention on a GPU");
}
template <class T>
void decode_new_tokens_cuda(const DecodeAttentionArgs<T>&, const NewTokens<T>&,
                            const AttentionParts<T>&, cudaStream_t) {
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

#define ORRERY_INSTANTIATE_REAL(T)                                                          \
  template void gae_cuda<T>(const GaeArgs<T>&, cudaStream_t);                               \
  template void route_rows_cuda<T>(const RouteRowsArgs<T>&, cudaStream_t);                  \
  template void route_rows_backward_cuda<T>(const RouteRowsBackwardArgs<T>&, cudaStream_t); \
  template void sample_rows_cuda<T>(const SampleRowsArgs<T>&, cudaStream_t);
ORRERY_INSTANTIATE_REAL(float)
ORRERY_INSTANTIATE_REAL(double)
#define ORRERY_INSTANTIATE_STORED(T)                                                              \
  template void varlen_attention_cuda<T>(const VarlenAttentionArgs<T>&, cudaStream_t);            \
  template void varlen_attention_backward_cuda<T>(const VarlenAttentionBackwardArgs<T>&,          \
                                                  cudaStream_t);                                  \
  template void token_log_probs_cuda<T>(const TokenLogProbsArgs<T>&, cudaStream_t);               \
  template void token_log_probs_backward_cuda<T>(const TokenLogProbsBackwardArgs<T>&,             \
                                                 cudaStream_t);                                   \
  template void norm_rows_cuda<T>(const NormRowsArgs<T>&, cudaStream_t);                          \
  template void norm_rows_backward_cuda<T>(const NormRowsBackwardArgs<T>&, cudaStream_t);         \
  template void add_column_sums_cuda<T>(const ColumnSumsArgs<T>&, cudaStream_t);                  \
  template void activate_cuda<T>(const ActivateArgs<T>&, cudaStream_t);                           \
  template void activate_backward_cuda<T>(const ActivateBackwardArgs<T>&, cudaStream_t);          \
  template void take_rows_cuda<T>(const TakeRowsArgs<T>&, cudaStream_t);                          \
  template void put_rows_cuda<T>(const PutRowsArgs<T>&, cudaStream_t);                            \
  template void decode_attention_cuda<T>(const DecodeAttentionArgs<T>&, const AttentionParts<T>&, \
                                         cudaStream_t);                                           \
  template void decode_new_tokens_cuda<T>(const DecodeAttentionArgs<T>&, const NewTokens<T>&,     \
                                          const AttentionParts<T>&, cudaStream_t);                \
  template void write_pages_cuda<T>(const WritePagesArgs<T>&, cudaStream_t);                      \
  template void rotate_heads_cuda<T>(const RotateHeadsArgs<T>&, cudaStream_t);                    \
  template void rotate_heads_backward_cuda<T>(const RotateHeadsBackwardArgs<T>&, cudaStream_t);
ORRERY_INSTANTIATE_STORED(float)
ORRERY_INSTANTIATE_STORED(double)
ORRERY_INSTANTIATE_STORED(Bf16)
#define ORRERY_INSTANTIATE_ADD_ROWS(T, G) \
  template void add_rows_cuda<T, G>(const AddRowsArgs<T, G>&, cudaStream_t);
ORRERY_ADD_ROWS_TYPES(ORRERY_INSTANTIATE_ADD_ROWS)
#define ORRERY_INSTANTIATE_ADAMW(T, G, M) \
  template void adamw_cuda<T, G, M>(const AdamWArgs<T, G, M>&, cudaStream_t);
ORRERY_ADAMW_TYPES(ORRERY_INSTANTIATE_ADAMW)
#define ORRERY_INSTANTIATE_PAIR(From, To)                                     \
  template void pack_cuda<From, To>(const PackArgs<From, To>&, cudaStream_t); \
  template void unpack_cuda<From, To>(const UnpackArgs<From, To>&, cudaStream_t);
ORRERY_STRIDED_TYPES(ORRERY_INSTANTIATE_PAIR)

}  // namespace orrery::kernels
