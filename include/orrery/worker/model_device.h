// Where the models of a worker compute, and the group of workers that carries their tensors: over
// MPI those of the host, over NCCL those of GPUs.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "orrery/comm/communicator.h"

namespace orrery::worker {

/// The GPUs that a worker sees.
struct WorkerGpus {
  std::string host;      ///< its node
  int local_worker = 0;  ///< its place among the workers of its node: the GPU it takes
  int n_gpus = 0;
  std::string why_none = {};  ///< where it sees none
  int64_t memory_bytes = 0;   ///< of the smallest one; 0: it sees none
};

/// Where this worker computes: worker i of a node on its GPU i; on the CPU where `wanted`
/// (experiment.device) is cpu, or auto and it sees no GPU. Of workers that check_gpus() has passed.
/// Pure.
c10::Device choose_model_device(const std::string& wanted, const WorkerGpus& own);

/// Throws ConfigError, with the node and the reason of each, unless all workers have a GPU of their
/// own (NCCL refuses to share one), or none is wanted: `wanted` is cpu, or auto and nobody sees
/// any. Pure.
void check_gpus(const std::string& wanted, std::span<const WorkerGpus> workers);

/// `workers`, made for CPUs, as the group of tensors on `device`: itself, or the same ranks over
/// NCCL as well. Collective over `workers`. Throws CommError.
std::unique_ptr<comm::Communicator> group_for(c10::Device device,
                                              std::unique_ptr<comm::Communicator> workers);

}  // namespace orrery::worker
