// What the models of a worker keep in memory between calls.
#pragma once

#include <string>

#include "orrery/worker/hosted_models.h"

namespace orrery::worker {

/// The largest buffers of all roles, 20 at most, with their owners:
/// `gradients of actor 2.00 GiB, parameters of actor 1.00 GiB`. Local; allocates nothing on a GPU.
std::string held_text(HostedModels& models);

}  // namespace orrery::worker
