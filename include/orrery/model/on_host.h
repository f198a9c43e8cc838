// Numbers of a GPU for what the host computes, losses of a few numbers a token.
#pragma once

#include <ATen/core/Tensor.h>

namespace orrery::model {

/// x itself, or its copy on the host, for which the host waits; differentiable: the gradient goes
/// up from pinned memory, for which nobody waits.
at::Tensor on_host(const at::Tensor& x);

}  // namespace orrery::model
