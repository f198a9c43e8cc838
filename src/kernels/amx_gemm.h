// The matmul of split_gemm.h, compiled for processors with AMX; nothing else includes it.
#pragma once

#include "orrery/kernels/split_gemm.h"

namespace orrery::kernels::amx {

void gemm(const SplitGemmArgs& args);

}  // namespace orrery::kernels::amx
