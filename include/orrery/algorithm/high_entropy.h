// Which actions have a high entropy: those that the policy is undecided about (arXiv 2506.01939).
// Shape letter: A actions.
#pragma once

#include <ATen/core/Tensor.h>

#include "orrery/comm/communicator.h"

namespace orrery::algorithm {

/// [A] bool: valid actions whose entropy is at least the (1 - fraction) quantile (linear
/// interpolation) of the entropies of all valid actions.
///   entropies  [A], mask [A] bool, fraction above 0, at most 1
///   ranks      the quantile is over all of them, collective over them; null: this rank alone
/// Throws ConfigError for another fraction, ShapeError when the sizes differ.
at::Tensor high_entropy_mask(const at::Tensor& entropies, const at::Tensor& mask, double fraction,
                             comm::Communicator* ranks = nullptr);

}  // namespace orrery::algorithm
