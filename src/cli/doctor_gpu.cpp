#include "doctor_gpu.h"

#include <ATen/ATen.h>  // precompiled
#include <dlfcn.h>
#include <nccl.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "orrery/base/clock.h"
#include "orrery/base/text.h"
#include "orrery/comm/mpi_communicator.h"
#include "orrery/comm/nccl_communicator.h"
#include "orrery/kernels/gpu.h"
#include "orrery/worker/gpu_place.h"

namespace orrery::cli {

namespace {

constexpr int64_t kElements = int64_t{16} << 20;  // of fp32: 64 MiB, beyond latencies
constexpr double kDeadlineSeconds = 60;

/// Seconds that one all-reduce of `x` takes; every operation of the group is awaited.
double time_all_reduce(comm::Communicator& group, at::Tensor& x, int rounds) {
  group.all_reduce(x, comm::ReduceOp::kSum);  // connections are made at the first
  group.barrier();
  const base::Stopwatch watch;
  for (int i = 0; i < rounds; ++i) group.all_reduce(x, comm::ReduceOp::kSum);
  return watch.seconds() / rounds;
}

/// The GPU that this rank would compute on; -1: none, as of the master.
int own_gpu(const CommandRanks& ranks, int64_t n_visible) {
  int gpu = 0;
  if (!ranks.is_single()) {
    if (ranks.worker() < 0) return -1;
    gpu = ranks.nodes().local_worker(ranks.worker());
  }
  return gpu < n_visible ? gpu : -1;
}

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

std::vector<Link> measure_nccl(const CommandRanks& ranks, int64_t n_gpus, double seconds) {
  if (ranks.is_single()) return {};
  MPI_Comm world = ranks.session().world();
  const comm::NodeMap& nodes = ranks.nodes();
  const int worker = ranks.worker();
  // Every rank must come to the same answer, also those of nodes without a GPU.
  int can = 1;
  if (worker >= 0 && nodes.local_worker(worker) >= n_gpus) can = 0;
  if (nodes.n_workers() < 2) can = 0;
  ORRERY_MPI(MPI_Allreduce(MPI_IN_PLACE, &can, 1, MPI_INT, MPI_MIN, world));
  if (can == 0) return {};

  const std::unique_ptr<comm::Communicator> workers = comm::make_worker_communicator(
      world, nodes, {.deadline = std::chrono::duration<double>(kDeadlineSeconds)});
  double times[2] = {0, 0};  // small, large
  if (workers != nullptr) {
    const std::unique_ptr<comm::Communicator> group =
        comm::make_nccl_communicator(*workers, "doctor", nodes.local_worker(worker));
    const auto options =
        at::TensorOptions()
            .dtype(at::kFloat)
            .device(at::kCUDA, static_cast<c10::DeviceIndex>(nodes.local_worker(worker)));
    at::Tensor small = at::zeros({2}, options);
    at::Tensor large = at::zeros({kElements}, options);
    times[0] = time_all_reduce(*group, small, 20);
    const double one = time_all_reduce(*group, large, 2);
    // The same number everywhere: the slowest rank's clock decides.
    int rounds = static_cast<int>(seconds / one);
    at::Tensor agreed = at::zeros({1}, at::kLong);
    agreed.fill_(rounds);
    workers->all_reduce(agreed, comm::ReduceOp::kMin);
    rounds = std::clamp(static_cast<int>(agreed.item<int64_t>()), 1, 1000);
    times[1] = time_all_reduce(*group, large, rounds);
  }
  ORRERY_MPI(MPI_Allreduce(MPI_IN_PLACE, times, 2, MPI_DOUBLE, MPI_MAX, world));
  if (!ranks.is_master()) return {};
  const double n = nodes.n_workers();
  // What each rank must send and receive at least, as nccl-tests counts it.
  const double bytes = 2 * (n - 1) / n * static_cast<double>(kElements) * sizeof(float);
  return {{.what = "NCCL all-reduce of all GPUs",
           .latency_s = times[0],
           .bytes_per_s = bytes / times[1],
           .kind = LinkKind::kAllGpus}};
}

}  // namespace orrery::cli
