// The product of split_product.h, compiled for processors with AMX; nothing else includes it.
#pragma once

#include "orrery/kernels/split_product.h"

namespace orrery::kernels::amx {

void product(const SplitProductArgs& args);

}  // namespace orrery::kernels::amx
