#include "doctor_gpu.h"

#include <ATen/ATen.h>  // precompiled
#include <dlfcn.h>
#include <nccl.h>

#include "orrery/base/text.h"
#include "orrery/kernels/gpu.h"
#include "orrery/worker/gpu_place.h"

namespace orrery::cli {

namespace {

std::string place_text(const worker::GpuPlace& place) {
  return base::concat(
      place.pci_id, place.cores.empty() ? ", the machine does not say where" : ", near cores ",
      worker::list_of_cores(place.cores),
      place.adapters.empty() ? ""
                             : base::concat(", network ", base::join(place.adapters, " or "),
                                            " (same ", place.adapter_link, ")"));
}

}  // namespace

GpuSupport gpu_support() { return GpuSupport::kBuiltIn; }

int own_gpu(const CommandRanks& ranks, int64_t n_visible) {
  int gpu = 0;
  if (!ranks.is_single()) {
    if (ranks.worker() < 0) return -1;
    gpu = ranks.nodes().local_worker(ranks.worker());
  }
  return gpu < n_visible ? gpu : -1;
}

std::string nccl_version() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "unknown";
  return base::concat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

void look_at_gpus(const CommandRanks& ranks, GpuFacts& gpus) {
  int nccl = 0;
  if (ncclGetVersion(&nccl) == ncclSuccess) gpus.nccl = nccl;
  gpus.nccl_of_build = NCCL_VERSION_CODE;
  const int own = own_gpu(ranks, gpus.n_visible);
  if (own < 0) return;
  const worker::GpuPlace place = worker::find_gpu_place("/sys", kernels::gpu_pci_id(own));
  store(gpus.place, place_text(place));
  gpus.may_run_near =
      place.cores.empty() || !worker::cores_to_bind(place.cores, worker::allowed_cores()).empty();
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    store(gpus.libtorch_problem, dlerror());
  }
}

}  // namespace orrery::cli
