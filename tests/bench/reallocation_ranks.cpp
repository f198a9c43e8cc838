// How fast parameters move between layouts, beside what the link and the memory can do in the same
// run: a plain exchange of the same bytes between the same ranks, out of and into buffers that are
// ready; and memcpy of the bytes that stay on their worker.
//
//   tools/bench.sh ranks
//   bench_reallocation [ELEMENTS OF A BUCKET...]: how it depends on them
#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "orrery/base/clock.h"
#include "orrery/comm/mpi_communicator.h"
#include "orrery/comm/mpi_session.h"
#include "orrery/parallel/reallocation.h"

namespace orrery::parallel {
namespace {

constexpr int kRepetitions = 7;

/// 20 M parameters.
model::Architecture architecture() {
  model::Architecture a;
  a.vocab_size = 512;
  a.hidden_size = 512;
  a.intermediate_size = 1536;
  a.n_layers = 6;
  a.n_heads = 8;
  a.n_kv_heads = 4;
  a.head_dim = 64;
  a.max_positions = 512;
  return a;
}

/// Fastest of some, in seconds, of the slowest rank.
template <class Work>
double seconds_of(comm::Communicator& workers, const Work& work) {
  double best = 1e9;
  for (int i = 0; i < kRepetitions; ++i) {
    workers.barrier();
    const base::Stopwatch watch;
    work();
    at::Tensor slowest = at::full({1}, watch.seconds(), at::kDouble);
    workers.all_reduce(slowest, comm::ReduceOp::kMax);
    best = std::min(best, slowest.item<double>());
  }
  return best;
}

/// This worker's bytes: to each peer, from each peer, and those that stay.
struct Bytes {
  std::map<int, int64_t> to, from;
  int64_t local = 0;
};

Bytes bytes_of(const ReallocationPlan& plan, int worker) {
  Bytes bytes;
  for (const auto& round : plan.rounds) {
    for (const Transfer& transfer : round) {
      const int64_t size = transfer.numel() * static_cast<int64_t>(sizeof(float));
      if (transfer.from == worker && transfer.to == worker) {
        bytes.local += size;
      } else if (transfer.from == worker) {
        bytes.to[transfer.to] += size;
      } else if (transfer.to == worker) {
        bytes.from[transfer.from] += size;
      }
    }
  }
  return bytes;
}

void measure(comm::Communicator& workers, const char* from, const char* to,
             const ReallocationOptions& options) {
  const int self = workers.rank();
  const auto layout = [](const char* text) { return graph::parse_layout(text).layout; };
  const graph::Layout source_layout = layout(from);
  const graph::Layout destination_layout = layout(to);
  const ReallocationPlan plan =
      plan_reallocation(shards_of(architecture(), source_layout),
                        shards_of(architecture(), destination_layout), options);
  const auto buffer = [&](const graph::Layout& where) {
    for (const ShardBlocks& shard : shards_of(architecture(), where)) {
      if (shard.worker != self) continue;
      int64_t numel = 0;
      for (const PlacedBlock& block : shard.blocks) {
        numel = std::max(numel, block.offset + block.n_rows * block.n_columns);
      }
      return at::ones({numel}, at::kFloat);
    }
    return at::Tensor();
  };
  const at::Tensor source = buffer(source_layout);
  const at::Tensor destination = buffer(destination_layout);
  const Bytes bytes = bytes_of(plan, self);

  const double moved =
      seconds_of(workers, [&] { reallocate(plan, workers, source, destination, at::kFloat); });

  std::vector<comm::Send> sends;
  std::vector<comm::Receive> receives;
  for (const auto& [peer, size] : bytes.to) {
    sends.push_back({.peer = peer, .tensor = at::ones({size}, at::kByte)});
  }
  for (const auto& [peer, size] : bytes.from) {
    receives.push_back({.peer = peer, .tensor = at::ones({size}, at::kByte)});
  }
  const at::Tensor local_from = at::ones({bytes.local}, at::kByte);
  const at::Tensor local_to = at::ones({bytes.local}, at::kByte);
  const double floor = seconds_of(workers, [&] {
    if (bytes.local > 0) {
      std::memcpy(local_to.mutable_data_ptr(), local_from.const_data_ptr(),
                  static_cast<size_t>(bytes.local));
    }
    if (!sends.empty() || !receives.empty()) workers.exchange(sends, receives);
  });

  int64_t sent = 0;
  for (const auto& [peer, size] : bytes.to) sent += size;
  at::Tensor total =
      at::tensor({static_cast<double>(sent), static_cast<double>(bytes.local)}, at::kDouble);
  workers.all_reduce(total, comm::ReduceOp::kSum);
  if (self == 0) {
    std::printf(
        "%-12s -> %-12s %8.1f MB sent %8.1f MB local %8.2f ms, link and memcpy %8.2f ms, %.2f of "
        "it\n",
        from, to, total[0].item<double>() / 1e6, total[1].item<double>() / 1e6, 1e3 * moved,
        1e3 * floor, floor / moved);
  }
}

}  // namespace
}  // namespace orrery::parallel

int main(int argc, char** argv) {
  const orrery::comm::MpiSession mpi(&argc, &argv);
  const auto workers = orrery::comm::MpiCommunicator::create(mpi.world(), "all", {});
  const std::pair<const char*, const char*> pairs[] = {
      {"d1t4p1@0-3", "d4t1p1@0-3"}, {"d1t1p4@0-3", "d4t1p1@0-3"}, {"d1t2p2@0-3", "d4t1p1@0-3"},
      {"d4t1p1@0-3", "d1t2p2@0-3"}, {"d1t2p1@0-1", "d2t1p1@2-3"}, {"d1t2p1@0-1", "d1t1p2@2-3"}};
  std::vector<int64_t> buckets;
  for (int i = 1; i < argc; ++i) buckets.push_back(std::atoll(argv[i]));
  if (buckets.empty()) buckets.push_back(orrery::parallel::ReallocationOptions{}.bucket_elements);
  for (const int64_t bucket : buckets) {
    if (workers->rank() == 0) std::printf("buckets of up to %ld elements\n", bucket);
    for (const auto& [from, to] : pairs) {
      orrery::parallel::measure(*workers, from, to,
                                {.bucket_elements = bucket, .node_of_worker = {}});
    }
  }
  return 0;
}
