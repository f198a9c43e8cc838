// The public kernels: each hands its arguments to the table of the best instruction set. Scratch is
// allocated here, outside the code that is compiled for one instruction set.
#include <algorithm>  // max
#include <memory>     // make_unique_for_overwrite

#include "kernel_table.h"
#include "orrery/kernels/instruction_set.h"
#include "orrery/kernels/split_gemm.h"  // has_split_gemm

namespace orrery::kernels {

InstructionSet best_instruction_set() {
#if defined(ORRERY_KERNELS_X86)
  static const InstructionSet best = [] {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      return InstructionSet::kAvx512;
    }
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return has_avx2 ? InstructionSet::kAvx2 : InstructionSet::kBaseline;
  }();
  return best;
#else
  return InstructionSet::kBaseline;
#endif
}

std::string_view instruction_set(Amx amx) {
  if (amx == Amx::kAuto && has_split_gemm()) return "amx";
  switch (best_instruction_set()) {
    case InstructionSet::kAvx512:
      return "avx512";
    case InstructionSet::kAvx2:
      return "avx2";
    case InstructionSet::kBaseline:
      break;
  }
#if defined(ORRERY_KERNELS_X86)
  return "sse2";
#elif defined(__aarch64__)
  return "neon";
#else
  return "baseline";
#endif
}

template <>
const KernelTable<float>& kernel_table<float>([[maybe_unused]] InstructionSet set) {
#if defined(ORRERY_KERNELS_X86)
  if (set == InstructionSet::kAvx512) return avx512::kFloatTable;
  if (set == InstructionSet::kAvx2) return avx2::kFloatTable;
#endif
  return baseline::kFloatTable;
}

template <>
const KernelTable<double>& kernel_table<double>([[maybe_unused]] InstructionSet set) {
#if defined(ORRERY_KERNELS_X86)
  if (set == InstructionSet::kAvx512) return avx512::kDoubleTable;
  if (set == InstructionSet::kAvx2) return avx2::kDoubleTable;
#endif
  return baseline::kDoubleTable;
}

template <class T>
const KernelTable<T>& kernel_table() {
  static const KernelTable<T>& table = kernel_table<T>(best_instruction_set());
  return table;
}

template const KernelTable<float>& kernel_table<float>();
template const KernelTable<double>& kernel_table<double>();

namespace {

int64_t max_length(const AttentionShape& shape) {
  int64_t longest = 0;
  for (int64_t s = 0; s < shape.n_sequences; ++s) {
    longest = std::max<int64_t>(longest, shape.cu_seqlens[s + 1] - shape.cu_seqlens[s]);
  }
  return longest;
}

}  // namespace

template <class T>
void rms_norm(const RmsNormArgs<T>& args) {
  kernel_table<T>().rms_norm(args);
}
template <class T>
void rms_norm_backward(const RmsNormBackwardArgs<T>& args) {
  kernel_table<T>().rms_norm_backward(args);
}
template <class T>
void rope(const RopeArgs<T>& args) {
  kernel_table<T>().rope(args);
}
template <class T>
void silu_mul(const SiluMulArgs<T>& args) {
  kernel_table<T>().silu_mul(args);
}
template <class T>
void silu_mul_backward(const SiluMulBackwardArgs<T>& args) {
  kernel_table<T>().silu_mul_backward(args);
}
template <class T>
void token_log_probs(const TokenLogProbsArgs<T>& args) {
  kernel_table<T>().token_log_probs(args);
}
template <class T>
void token_log_probs_backward(const TokenLogProbsBackwardArgs<T>& args) {
  kernel_table<T>().token_log_probs_backward(args);
}
template <class T>
void packed_gemm(const PackedGemmArgs<T>& args) {
  kernel_table<T>().packed_gemm(args);
}
template <class T>
void decode_attention(const DecodeAttentionArgs<T>& args) {
  kernel_table<T>().decode_attention(args);
}

template <class T>
void varlen_attention(const VarlenAttentionArgs<T>& args) {
  const int64_t longest = max_length(args.shape);
  const KernelTable<T>& table = kernel_table<T>();
  const int64_t numbers = table.attention_scratch(args.shape, longest);
  const auto scratch = std::make_unique_for_overwrite<T[]>(static_cast<size_t>(numbers));
  table.attention(args, scratch.get(), longest);
}

template <class T>
void varlen_attention_backward(const VarlenAttentionBackwardArgs<T>& args) {
  const int64_t longest = max_length(args.shape);
  const KernelTable<T>& table = kernel_table<T>();
  const int64_t numbers = table.attention_backward_scratch(args.shape, longest);
  const auto scratch = std::make_unique_for_overwrite<T[]>(static_cast<size_t>(numbers));
  table.attention_backward(args, scratch.get(), longest);
}

#define ORRERY_INSTANTIATE_KERNELS(T)                                             \
  template void rms_norm<T>(const RmsNormArgs<T>&);                               \
  template void rms_norm_backward<T>(const RmsNormBackwardArgs<T>&);              \
  template void rope<T>(const RopeArgs<T>&);                                      \
  template void silu_mul<T>(const SiluMulArgs<T>&);                               \
  template void silu_mul_backward<T>(const SiluMulBackwardArgs<T>&);              \
  template void token_log_probs<T>(const TokenLogProbsArgs<T>&);                  \
  template void token_log_probs_backward<T>(const TokenLogProbsBackwardArgs<T>&); \
  template void packed_gemm<T>(const PackedGemmArgs<T>&);                         \
  template void decode_attention<T>(const DecodeAttentionArgs<T>&);               \
  template void varlen_attention<T>(const VarlenAttentionArgs<T>&);               \
  template void varlen_attention_backward<T>(const VarlenAttentionBackwardArgs<T>&)

ORRERY_INSTANTIATE_KERNELS(float);
ORRERY_INSTANTIATE_KERNELS(double);

}  // namespace orrery::kernels
