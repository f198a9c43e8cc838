// What the operators on GPUs share. Private to src/model.
#pragma once

#include <ATen/ops/empty.h>

#include "operators.h"
#include "orrery/model/cuda_stream.h"
#include "orrery/model/uploaded.h"

namespace orrery::model::operators::cuda {

/// Added to a norm's weight before it multiplies.
inline double weight_offset(NormKind kind) { return kind == NormKind::kRmsPlusOne ? 1 : 0; }

}  // namespace orrery::model::operators::cuda
