// What the models of a worker keep in memory between calls.
#pragma once

#include <cstdint>
#include <string>

#include "orrery/worker/hosted_models.h"

namespace orrery::worker {

/// The largest buffers of all roles on a GPU, 20 at most, with their owners:
/// `gradients of actor 2.00 GiB, parameters of actor 1.00 GiB`. Local; allocates nothing on a GPU.
///   peak_bytes  that all tensors took; what is beyond the buffers was the operation's own. 0: not
///               known
std::string held_text(HostedModels& models, int64_t peak_bytes = 0);

}  // namespace orrery::worker
