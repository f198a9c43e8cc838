#include "orrery/worker/lost_gpu.h"

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/kernels/gpu.h"

namespace orrery::worker {

GpuName GpuName::of(c10::Device device) {
  if (device.is_cpu()) return {};
  return {.index = device.index(), .pci_id = kernels::gpu_pci_id(device.index())};
}

void throw_if_lost(const GpuName& gpu, const std::string& host, const std::exception& error) {
  if (gpu.index < 0) return;
  const std::string reason = kernels::why_gpu_is_lost();
  if (reason.empty()) return;
  const std::string what = error.what();
  throw PeerError(
      base::concat("GPU ", gpu.index, " (", gpu.pci_id, ") of ", host, " is lost: ", reason),
      {.expected = "a GPU that computes",
       .got = what.substr(0, what.find('\n')),
       .advice = base::concat(
           "look on ", host, " at dmesg (Xid) and nvidia-smi -q -i ", gpu.pci_id,
           ", and start the same command again: it goes on from the newest checkpoint; if it comes "
           "again, leave ",
           host, " out (sbatch --exclude=", host,
           "); without an Xid there it may be a fault of Orrery: report it")});
}

}  // namespace orrery::worker
