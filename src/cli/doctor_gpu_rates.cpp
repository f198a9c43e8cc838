// How fast GPUs move bytes: from and to the host, to each other, and all together.
#include <ATen/ATen.h>  // precompiled
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "doctor_gpu.h"
#include "orrery/base/clock.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/comm/mpi_communicator.h"
#include "orrery/comm/nccl_communicator.h"

namespace orrery::cli {

namespace {

constexpr int64_t kElements = int64_t{16} << 20;  // of fp32: 64 MiB, beyond latencies
constexpr double kBytes = static_cast<double>(kElements) * sizeof(float);
constexpr double kDeadlineSeconds = 60;

/// Seconds that one `work` takes, which waits for what it starts.
template <class Work>
double time_of(int rounds, const Work& work) {
  work();  // connections are made, and pages touched, at the first
  const base::Stopwatch watch;
  for (int i = 0; i < rounds; ++i) work();
  return watch.seconds() / rounds;
}

/// Of operations of the group, which are enqueued only, each to its end on the GPU of `x`.
template <class Enqueue>
double time_of_operation(comm::Communicator& group, const at::Tensor& x, int rounds,
                         const Enqueue& enqueue) {
  const c10::impl::VirtualGuardImpl gpu(c10::kCUDA);
  const double seconds = time_of(rounds, [&] {
    enqueue();
    gpu.getStream(x.device()).synchronize();
  });
  group.throw_if_failed();
  return seconds;
}

double time_all_reduce(comm::Communicator& group, at::Tensor& x, int rounds) {
  return time_of_operation(group, x, rounds, [&] { group.all_reduce(x, comm::ReduceOp::kSum); });
}

/// Of a message from worker `first` to the next one; of these two workers.
double time_message(comm::Communicator& group, int first, const at::Tensor& x, int rounds) {
  std::vector<comm::Send> sends;
  std::vector<comm::Receive> receives;
  if (group.rank() == first) {
    sends.push_back({.peer = first + 1, .tensor = x});
  } else {
    receives.push_back({.peer = first, .tensor = x});
  }
  return time_of_operation(group, x, rounds, [&] { group.exchange(sends, receives); });
}

/// What one worker has measured; zeros of what others do.
struct Times {
  std::vector<double> small_messages, large_messages;  // [n_workers - 1] worker i to worker i + 1
  std::vector<double> all_reduce;                      // [2] small, large

  explicit Times(int n_workers)
      : small_messages(base::index(n_workers - 1)),
        large_messages(base::index(n_workers - 1)),
        all_reduce(2) {}
};

int agreed_rounds(comm::Communicator& workers, double seconds, double one) {
  // The same number everywhere: the slowest rank's clock decides.
  at::Tensor rounds = at::zeros({1}, at::kLong);
  rounds.fill_(static_cast<int>(seconds / one));
  workers.all_reduce(rounds, comm::ReduceOp::kMin);
  return std::clamp(static_cast<int>(rounds.item<int64_t>()), 1, 1000);
}

void measure_group(comm::Communicator& workers, int gpu, double seconds, Times& times) {
  const auto group = comm::make_nccl_communicator(workers, "doctor", gpu);
  const auto options =
      at::TensorOptions().dtype(at::kFloat).device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu));
  at::Tensor small = at::zeros({2}, options);
  at::Tensor large = at::zeros({kElements}, options);
  for (int first = 0; first + 1 < group->size(); ++first) {
    if (group->rank() == first || group->rank() == first + 1) {
      times.small_messages[base::index(first)] = time_message(*group, first, small, 20);
      times.large_messages[base::index(first)] = time_message(*group, first, large, 4);
    }
    workers.barrier();  // one pair at a time
  }
  times.all_reduce[0] = time_all_reduce(*group, small, 20);
  const int rounds = agreed_rounds(workers, seconds, time_all_reduce(*group, large, 2));
  times.all_reduce[1] = time_all_reduce(*group, large, rounds);
}

/// The slowest of the pairs within nodes or between them, where there are any.
void add_slowest_pair(const comm::NodeMap& nodes, const Times& times, LinkKind kind,
                      std::vector<Link>& links) {
  int slowest = -1;
  for (int first = 0; first + 1 < nodes.n_workers(); ++first) {
    const bool crosses =
        nodes.node_of_worker[base::index(first)] != nodes.node_of_worker[base::index(first + 1)];
    if (crosses != (kind == LinkKind::kGpusBetweenNodes)) continue;
    if (slowest < 0 ||
        times.large_messages[base::index(first)] > times.large_messages[base::index(slowest)]) {
      slowest = first;
    }
  }
  if (slowest < 0) return;
  const int node = nodes.node_of_worker[base::index(slowest)];
  const std::string where = kind == LinkKind::kGpusOfNode
                                ? base::concat(" on ", nodes.host_of_node[base::index(node)])
                                : std::string(" between nodes");
  links.push_back({.what = base::concat("NCCL, slowest of neighbours", where, ": workers ", slowest,
                                        " and ", slowest + 1),
                   .latency_s = times.small_messages[base::index(slowest)],
                   .bytes_per_s = kBytes / times.large_messages[base::index(slowest)],
                   .kind = kind});
}

}  // namespace

void measure_copies(const CommandRanks& ranks, GpuFacts& gpus) {
  const int own = own_gpu(ranks, gpus.n_visible);
  if (own < 0 || gpus.libtorch_problem.front() != '\0') return;
  constexpr int kRounds = 4;
  const auto options = at::TensorOptions().dtype(at::kFloat);
  const at::Tensor host = at::empty({kElements}, options.pinned_memory(true)).zero_();
  const at::Tensor device =
      at::empty({kElements}, options.device(at::kCUDA, static_cast<c10::DeviceIndex>(own)));
  gpus.to_gpu_bytes_per_s = kBytes / time_of(kRounds, [&] { device.copy_(host); });
  gpus.to_host_bytes_per_s = kBytes / time_of(kRounds, [&] { host.copy_(device); });
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
  Times times(nodes.n_workers());
  if (workers != nullptr) measure_group(*workers, nodes.local_worker(worker), seconds, times);
  for (std::vector<double>* const of :
       {&times.small_messages, &times.large_messages, &times.all_reduce}) {
    ORRERY_MPI(MPI_Allreduce(MPI_IN_PLACE, of->data(), static_cast<int>(of->size()), MPI_DOUBLE,
                             MPI_MAX, world));
  }
  if (!ranks.is_master()) return {};
  std::vector<Link> links;
  add_slowest_pair(nodes, times, LinkKind::kGpusOfNode, links);
  add_slowest_pair(nodes, times, LinkKind::kGpusBetweenNodes, links);
  const double n = nodes.n_workers();
  // What each rank must send and receive at least, as nccl-tests counts it.
  const double bytes = 2 * (n - 1) / n * kBytes;
  links.push_back({.what = "NCCL all-reduce of all GPUs",
                   .latency_s = times.all_reduce[0],
                   .bytes_per_s = bytes / times.all_reduce[1],
                   .kind = LinkKind::kAllGpus});
  return links;
}

}  // namespace orrery::cli
