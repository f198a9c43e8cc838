#include "worker_gpus.h"

#include <sstream>
#include <string>

#include "gather_texts.h"
#include "orrery/base/index.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/kernels/gpu.h"
#include "orrery/worker/gpu_place.h"

namespace orrery::cli {

namespace {

worker::WorkerGpus place_of_worker(int rank, const comm::NodeMap& nodes) {
  const int node = nodes.node_of_rank[base::index(rank)];
  return {.host = nodes.host_of_node[base::index(node)],
          .local_worker = nodes.local_worker(nodes.worker_of_rank[base::index(rank)])};
}

int64_t smallest_gpu_bytes() {
  int64_t smallest = 0;
  for (int gpu = 0; gpu < kernels::gpu_count(); ++gpu) {
    const int64_t bytes = kernels::gpu_memory_bytes(gpu);
    if (gpu == 0 || bytes < smallest) smallest = bytes;
  }
  return smallest;
}

}  // namespace

worker::WorkerGpus gpus_of_process() {
  return {
      .host = "this machine", .n_gpus = kernels::gpu_count(), .why_none = kernels::why_no_gpu()};
}

worker::WorkerGpus own_gpus(int rank, const comm::NodeMap& nodes) {
  worker::WorkerGpus own = place_of_worker(rank, nodes);
  own.n_gpus = kernels::gpu_count();
  own.why_none = kernels::why_no_gpu();
  return own;
}

std::vector<worker::WorkerGpus> gpus_of_workers(MPI_Comm world, const comm::NodeMap& nodes) {
  const std::vector<std::string> of_rank = gather_texts(
      world,
      base::concat(kernels::gpu_count(), " ", smallest_gpu_bytes(), " ", kernels::why_no_gpu()));
  std::vector<worker::WorkerGpus> workers;
  if (of_rank.empty()) return workers;
  for (const int rank : nodes.rank_of_worker) {
    workers.push_back(place_of_worker(rank, nodes));
    std::istringstream text(of_rank[base::index(rank)]);
    text >> workers.back().n_gpus >> workers.back().memory_bytes >> std::ws;
    std::getline(text, workers.back().why_none);
  }
  return workers;
}

void stay_near_gpu(c10::Device device) {
  if (!device.is_cuda()) return;
  const worker::GpuPlace place =
      worker::find_gpu_place("/sys", kernels::gpu_pci_id(device.index()));
  const worker::Binding binding = worker::bind_near(place);
  const bool is_elsewhere = !binding.is_bound && !place.cores.empty();
  if (is_elsewhere) {
    base::log_warning(binding.text);
  } else {
    base::log_info(binding.text);
  }
}

}  // namespace orrery::cli
