// One group of ranks with a backend for the host's tensors and one for those of GPUs: every
// operation goes over the backend of its tensors' device, so whoever has a group need not know
// where models compute.
#pragma once

#include <memory>

#include "orrery/comm/communicator.h"

namespace orrery::comm {

/// Both of the same ranks in the same order; name, workers and options are the host's. An exchange
/// may carry messages of both kinds, each between tensors of the same kind.
std::unique_ptr<Communicator> make_dual_communicator(std::unique_ptr<Communicator> host,
                                                     std::unique_ptr<Communicator> gpus);

}  // namespace orrery::comm
