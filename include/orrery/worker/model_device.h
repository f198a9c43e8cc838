// Where the models of a worker compute, and the group of workers that carries their tensors: MPI
// for CPUs, NCCL for GPUs. The backend follows the tensors, not what the machine has.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "orrery/comm/communicator.h"

namespace orrery::worker {

struct ModelDevice {
  std::optional<int> gpu = {};  ///< none: the CPU
  std::string remark = {};      ///< what a user should know about the choice; empty: nothing
};

/// What decides on the device of a worker.
struct DeviceFacts {
  int n_gpus = 0;        ///< that this process sees
  int local_worker = 0;  ///< its place among the workers of its node
  bool models_run_on_gpus = false;
};

/// Worker i of a node takes its GPU i. A machine without GPUs computes on its CPU, and so does this
/// version everywhere: losses, samples and checkpoints are the host's yet.
/// Pure. Throws CallError when there are GPUs, but fewer than workers: NCCL refuses to share one.
ModelDevice choose_model_device(const DeviceFacts& facts);

/// The same for this process.
ModelDevice model_device_of(int local_worker);

/// Whether workers give their models a GPU.
inline constexpr bool kModelsRunOnGpus = false;

/// `workers`, made for CPUs, as the group of these tensors: itself, or the same ranks over NCCL.
/// Collective over `workers`. Throws CommError.
std::unique_ptr<comm::Communicator> group_for(const ModelDevice& device,
                                              std::unique_ptr<comm::Communicator> workers);

}  // namespace orrery::worker
