// Defines the kernel tables of the instruction set that this file is compiled for. Included once by
// each target source, after it has defined ORRERY_KERNEL_TARGET.
#pragma once

#include "kernel_table.h"
#include "target/attention.h"
#include "target/decode_attention.h"
#include "target/packed_gemm.h"
#include "target/rows.h"

namespace orrery::kernels::ORRERY_KERNEL_TARGET {

template <class T>
constexpr KernelTable<T> make_table() {
  return {.rms_norm = rms_norm<T>,
          .rms_norm_backward = rms_norm_backward<T>,
          .rope = rope<T>,
          .silu_mul = silu_mul<T>,
          .silu_mul_backward = silu_mul_backward<T>,
          .exp_row = exp_row<T>,
          .row_max = row_max<T>,
          .token_log_probs = token_log_probs<T>,
          .token_log_probs_backward = token_log_probs_backward<T>,
          .packed_gemm = packed_gemm<T>,
          .attention_scratch = attention_forward_scratch<T>,
          .attention = varlen_attention<T>,
          .attention_backward_scratch = attention_backward_scratch<T>,
          .attention_backward = varlen_attention_backward<T>,
          .decode_attention = decode_attention<T>};
}

const KernelTable<float> kFloatTable = make_table<float>();
const KernelTable<double> kDoubleTable = make_table<double>();

}  // namespace orrery::kernels::ORRERY_KERNEL_TARGET
