// Carries out the data transfers that the master planned: moves samples between the stores of
// workers. Decides nothing. All samples of a pair of workers travel in one message; bytes are
// moved as they are, whatever their type.
#pragma once

#include <cstdint>
#include <span>

#include "orrery/comm/communicator.h"  // Communicator: the group of all workers
#include "orrery/comm/message.h"       // Transfer
#include "orrery/worker/data_store.h"

namespace orrery::worker {

/// Sends what `transfers` take from this worker and stores what they bring.
/// Collective over the workers that the transfers name: each of them gets the same transfers in
/// the same order, restricted to those in which it takes part. `workers.rank()` is the worker
/// index. Returns the bytes received.
/// Throws CallError (a sample that is not here) or CommError (a peer missed the deadline).
int64_t run_transfers(std::span<const comm::Transfer> transfers, comm::Communicator& workers,
                      DataStore& store);

}  // namespace orrery::worker
