#include "orrery/worker/model_device.h"

#include <algorithm>  // all_of
#include <vector>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/comm/dual_communicator.h"
#include "orrery/comm/nccl_communicator.h"

namespace orrery::worker {

c10::Device choose_model_device(const std::string& wanted, const WorkerGpus& own) {
  if (wanted == "cpu" || own.n_gpus == 0) return c10::kCPU;
  return {c10::kCUDA, static_cast<c10::DeviceIndex>(own.local_worker)};
}

void check_gpus(const std::string& wanted, std::span<const WorkerGpus> workers) {
  const bool nobody_sees_any = std::all_of(workers.begin(), workers.end(),
                                           [](const WorkerGpus& w) { return w.n_gpus == 0; });
  if (wanted == "cpu" || (wanted == "auto" && nobody_sees_any)) return;
  std::vector<std::string> without;
  for (size_t w = 0; w < workers.size(); ++w) {
    const WorkerGpus& worker = workers[w];
    if (worker.local_worker < worker.n_gpus) continue;
    const std::string reason =
        worker.n_gpus == 0 ? worker.why_none
                           : base::concat("the node has ", base::counted(worker.n_gpus, "GPU"),
                                          ", this is its worker ", worker.local_worker + 1);
    without.push_back(base::concat("worker ", w, " on ", worker.host, ": ", reason));
  }
  if (without.empty()) return;
  throw ConfigError(
      "experiment.device",
      {.expected = "a GPU for each worker",
       .got = base::concat("none for ", base::join(without, "; ")),
       .advice = "start as many workers on a node as it has GPUs, and the master beside them; "
                 "`orrery doctor` says what is wrong with a GPU; device = cpu computes on CPUs"});
}

std::unique_ptr<comm::Communicator> group_for(c10::Device device,
                                              std::unique_ptr<comm::Communicator> workers) {
  if (device.is_cpu()) return workers;
  auto gpus = comm::make_nccl_communicator(*workers, workers->name(), device.index());
  return comm::make_dual_communicator(std::move(workers), std::move(gpus));
}

}  // namespace orrery::worker
