#include "orrery/worker/model_device.h"

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/comm/nccl_communicator.h"
#include "orrery/kernels/gpu.h"  // gpu_count

namespace orrery::worker {

ModelDevice choose_model_device(const DeviceFacts& facts) {
  if (facts.n_gpus == 0) return {};
  if (!facts.models_run_on_gpus) {
    return {.gpu = {},
            .remark = base::concat(facts.n_gpus,
                                   " GPU(s) found and left idle: models compute on "
                                   "the CPU in this version (docs/gpu.md)")};
  }
  if (facts.local_worker >= facts.n_gpus) {
    throw CallError(
        "choice of a GPU for a worker",
        {.expected = base::concat("a GPU for worker ", facts.local_worker + 1, " of this node"),
         .got = base::concat(facts.n_gpus, " GPU(s)"),
         .advice = "start one worker for each GPU, and the master beside them"});
  }
  return {.gpu = facts.local_worker, .remark = {}};
}

ModelDevice model_device_of(int local_worker) {
  return choose_model_device({.n_gpus = kernels::gpu_count(),
                              .local_worker = local_worker,
                              .models_run_on_gpus = kModelsRunOnGpus});
}

std::unique_ptr<comm::Communicator> group_for(const ModelDevice& device,
                                              std::unique_ptr<comm::Communicator> workers) {
  if (!device.gpu) return workers;
  return comm::make_nccl_communicator(*workers, "workers", *device.gpu);
}

}  // namespace orrery::worker
