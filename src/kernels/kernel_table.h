// The kernels of one instruction set as a table of functions. The best table that the processor can
// run is chosen once.
#pragma once

#include <cstdint>

#include "orrery/kernels/decode_attention.h"
#include "orrery/kernels/packed_gemm.h"
#include "orrery/kernels/rms_norm.h"
#include "orrery/kernels/rope.h"
#include "orrery/kernels/silu_mul.h"
#include "orrery/kernels/token_log_probs.h"
#include "orrery/kernels/varlen_attention.h"

namespace orrery::kernels {

template <class T>
struct KernelTable {
  void (*rms_norm)(const RmsNormArgs<T>&);
  void (*rms_norm_backward)(const RmsNormBackwardArgs<T>&);
  void (*rope)(const RopeArgs<T>&);
  void (*silu_mul)(const SiluMulArgs<T>&);
  void (*silu_mul_backward)(const SiluMulBackwardArgs<T>&);
  double (*exp_row)(const T* x, int64_t n, T scale, T shift, T* out);
  T (*row_max)(const T* x, int64_t n);
  void (*token_log_probs)(const TokenLogProbsArgs<T>&);
  void (*token_log_probs_backward)(const TokenLogProbsBackwardArgs<T>&);
  void (*packed_gemm)(const PackedGemmArgs<T>&);
  int64_t (*attention_scratch)(const AttentionShape&, int64_t max_length);
  void (*attention)(const VarlenAttentionArgs<T>&, T* scratch, int64_t max_length);
  int64_t (*attention_backward_scratch)(const AttentionShape&, int64_t max_length);
  void (*attention_backward)(const VarlenAttentionBackwardArgs<T>&, T* scratch, int64_t max_length);
  void (*decode_attention)(const DecodeAttentionArgs<T>&);
};

namespace baseline {
extern const KernelTable<float> kFloatTable;
extern const KernelTable<double> kDoubleTable;
}  // namespace baseline
namespace avx2 {
extern const KernelTable<float> kFloatTable;
extern const KernelTable<double> kDoubleTable;
}  // namespace avx2
namespace avx512 {
extern const KernelTable<float> kFloatTable;
extern const KernelTable<double> kDoubleTable;
}  // namespace avx512

/// Each can run what those before it can.
enum class InstructionSet { kBaseline, kAvx2, kAvx512 };

/// The best that this processor can run.
InstructionSet best_instruction_set();

/// The table of one set, or the one in use. Tests compare them.
template <class T>
const KernelTable<T>& kernel_table(InstructionSet set);
template <class T>
const KernelTable<T>& kernel_table();

}  // namespace orrery::kernels
