// Which instructions the kernels of this processor are made of. Sums differ in their last bits from
// one set to another.
#pragma once

#include <string_view>

namespace orrery::kernels {

/// Whether fp32 matmuls may use tiles of bf16 products (split_gemm.h) where the processor has them.
enum class Amx { kAuto, kOff };

/// `amx`, `avx512`, `avx2`, `sse2`, `neon`, or `baseline` elsewhere: the widest of the sets that
/// this process computes with. Local; any thread.
std::string_view instruction_set(Amx amx);

}  // namespace orrery::kernels
