// Communicator for CUDA tensors over NCCL; only in builds with ORRERY_CUDA. An operation is
// enqueued on the current stream of the device and its call returns; a thread of the group watches
// it until its end, so that a lost peer is an error at the deadline instead of a GPU that spins for
// ever. All operations of a process on one stream, whose order is the same on all ranks: on
// several, two groups could wait for each other. What is captured in a graph nobody watches when
// that is launched. The barrier and splits wait.
#pragma once

#include <memory>
#include <string>

#include "orrery/comm/communicator.h"

namespace orrery::comm {

/// Makes the GPU the calling thread's and loads LibTorch's CUDA operators, which the program does
/// not link (decision 0751): before the first tensor there. Local. Throws CallError or CommError.
void open_gpu(int device);

/// The ranks of `bootstrap` (on CPUs) as a group over NCCL, each with a GPU of its own; workers and
/// options as there. Opens `device`.
/// Collective over `bootstrap`. Throws CommError.
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& bootstrap, std::string name,
                                                     int device);

}  // namespace orrery::comm
