// Numbers over the tokens or sequences of a mask, as statistics that merge over micro-batches and
// ranks. Local.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "orrery/metrics/statistics.h"

namespace orrery::algorithm {

/// Sum of `values` where `mask` is true, in double. Both of one size; mask bool.
double masked_sum(const at::Tensor& values, const at::Tensor& mask);

/// Mean, smallest and largest of `values` over `mask` as `name`, `name`_min and `name`_max. Nothing
/// for a mask without a true element. An undefined mask: all.
void record_spread(metrics::Statistics& statistics, const std::string& name,
                   const at::Tensor& values, const at::Tensor& mask);

}  // namespace orrery::algorithm
