// The GPUs that the workers of a job see.
#pragma once

#include <mpi.h>

#include <vector>

#include "orrery/comm/node_map.h"
#include "orrery/worker/model_device.h"

namespace orrery::cli {

/// Those of this process, alone on its machine.
worker::WorkerGpus gpus_of_process();

/// Those of this rank, which is a worker.
worker::WorkerGpus own_gpus(int rank, const comm::NodeMap& nodes);

/// [n_workers] on rank 0, nothing elsewhere. Collective over `world`.
std::vector<worker::WorkerGpus> gpus_of_workers(MPI_Comm world, const comm::NodeMap& nodes);

/// Binds a worker that computes on a GPU to the cores near it, where it may run on them, and logs
/// what came of it. Of the calling thread and those that it starts from now on.
void stay_near_gpu(c10::Device device);

}  // namespace orrery::cli
