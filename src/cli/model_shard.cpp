#include "model_shard.h"

#include <ATen/Parallel.h>  // set_num_threads

#include <algorithm>
#include <iostream>
#include <numeric>

#include "orrery/base/clock.h"
#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/log.h"
#include "orrery/base/terminal.h"
#include "orrery/base/text.h"
#include "orrery/comm/mpi_communicator.h"
#include "orrery/comm/nccl_communicator.h"  // open_gpu
#include "orrery/graph/communicators.h"
#include "orrery/metrics/progress.h"
#include "orrery/model/load_log.h"
#include "worker_gpus.h"

namespace orrery::cli {

namespace {

const graph::ReplicaId kReplica{.role = "model", .index = 0};

comm::Communicator* unless_alone(const comm::CommunicatorRegistry& registry, graph::GroupKind kind,
                                 int degree) {
  return degree > 1 ? registry.find(kReplica, kind) : nullptr;
}

/// The device of this rank's shard; none: there is no GPU for some worker, which rank 0 has said,
/// and `exit_code` is set. Collective over all ranks.
std::optional<c10::Device> agree_on_device(const CommandRanks& ranks, const std::string& wanted,
                                           int& exit_code) {
  const std::vector<worker::WorkerGpus> gpus =
      ranks.is_single() ? std::vector{gpus_of_process()}
                        : gpus_of_workers(ranks.session().world(), ranks.nodes());
  exit_code = ranks.agree(judge([&] {
    if (ranks.is_master()) worker::check_gpus(wanted, gpus);
  }));
  if (exit_code != 0) return std::nullopt;
  if (ranks.is_single()) return worker::choose_model_device(wanted, gpus.front());
  if (ranks.is_master()) return c10::kCPU;
  return worker::choose_model_device(wanted, own_gpus(ranks.rank(), ranks.nodes()));
}

/// False: the rank that reads for this one could not, and says so itself. Collective over the data
/// ranks of the shard.
bool read_shard(const ModelSource& source, const graph::Coordinate& at, comm::Communicator* data,
                model::Decoder& decoder) {
  model::LoadLog log(source.role.empty() ? "model" : source.role, source.directory.string(),
                     [](const std::string& line) { base::log_info(line); });
  model::LoadOptions options{.data = data};
  if (at.pipe == 0 && at.tensor == 0) {
    options.on_piece = [&](const model::LoadProgress& now) { log.observe(now); };
  }
  try {
    load_parameters(source, decoder, options);
    return true;
  } catch (const PeerError&) {
    return false;
  }
}

}  // namespace

ModelShard::Loaded ModelShard::load(const CommandRanks& ranks, const ModelSource& source,
                                    const graph::Layout& layout,
                                    const config::ModelRunOptions& options) {
  if (options.threads > 0) {
    at::set_num_threads(options.threads);
  } else if (!ranks.is_single()) {
    at::set_num_threads(1);  // ranks share the cores
  }
  int refused = 0;
  const std::optional<c10::Device> device = agree_on_device(ranks, options.device, refused);
  if (!device) return {.shard = nullptr, .exit_code = refused};
  auto shard = std::make_unique<ModelShard>();
  shard->gpu_ = worker::GpuName::of(*device);
  shard->host_ = ranks.is_single() ? "this machine" : ranks.session().host();
  if (ranks.is_single()) {
    if (device->is_cuda()) comm::open_gpu(device->index());
  } else {
    std::unique_ptr<comm::Communicator> workers = comm::make_worker_communicator(
        ranks.session().world(), ranks.nodes(),
        {.deadline = std::chrono::duration<double>(options.deadline_seconds)});
    if (workers != nullptr) {
      const graph::Replica replica{.id = kReplica, .layout = layout};
      shard->registry_ = comm::CommunicatorRegistry::create(
          worker::group_for(*device, std::move(workers)),
          graph::plan_communicators({replica}, ranks.n_workers()));
    }
  }
  int exit_code = ranks.agree(judge([&] {
    const auto place = std::find(layout.workers.begin(), layout.workers.end(), ranks.worker());
    if (place == layout.workers.end()) return;
    const graph::Topology topology = graph::topology_of(layout);
    const auto rank = static_cast<int>(place - layout.workers.begin());
    shard->at_ = topology.coordinate(rank);
    shard->is_dp_head_ = topology.is_dp_head(rank);
    model::Shard part;
    part.place = {.pipe = shard->at_.pipe,
                  .n_pipe = layout.pipe,
                  .tensor = shard->at_.tensor,
                  .n_tensor = layout.tensor};
    if (shard->registry_) {
      part.tensor = unless_alone(*shard->registry_, graph::GroupKind::kTensor, layout.tensor);
      part.pipe = unless_alone(*shard->registry_, graph::GroupKind::kPipe, layout.pipe);
    }
    shard->decoder_ = std::make_unique<model::Decoder>(
        source.architecture, parameter_type(options.dtype), *device, part);
  }));
  if (exit_code != 0) return {.shard = nullptr, .exit_code = exit_code};
  // All have a decoder now, so that all come to the reading.
  exit_code = ranks.agree(judge([&] {
    if (!shard->has_decoder()) return;
    comm::Communicator* const data =
        shard->registry_ ? unless_alone(*shard->registry_, graph::GroupKind::kData, layout.data)
                         : nullptr;
    shard->run([&] {
      if (!read_shard(source, shard->at_, data, shard->decoder())) return;
      if (options.check) check_finite(shard->decoder(), source);
    });
  }));
  if (exit_code != 0) shard = nullptr;
  return {.shard = std::move(shard), .exit_code = exit_code};
}

std::vector<int> assign_pieces(std::span<const int64_t> costs, int n_data) {
  std::vector<size_t> order(costs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return costs[a] > costs[b]; });
  std::vector<int64_t> loads(static_cast<size_t>(n_data), 0);
  std::vector<int> data_rank(costs.size(), 0);
  for (const size_t piece : order) {
    const auto least = std::min_element(loads.begin(), loads.end());
    *least += costs[piece];
    data_rank[piece] = static_cast<int>(least - loads.begin());
  }
  return data_rank;
}

PieceTotals run_pieces(const CommandRanks& ranks, const ModelShard& shard,
                       const graph::Layout& layout, const PieceWork& work,
                       std::chrono::duration<double> deadline) {
  const base::Stopwatch watch;
  const auto n_pieces = static_cast<int>(work.costs.size());
  PieceTotals totals;
  metrics::Progress progress({.unit = "piece",
                              .limits = {.total_steps = n_pieces},
                              .style = metrics::detect_progress_style(),
                              .columns = base::seen_columns},
                             std::cerr);
  int n_done = 0;
  double last = 0;
  const auto take = [&](int piece, const std::string& bytes) {
    const int64_t tokens = work.take(piece, bytes);
    totals.tokens += tokens;
    const double now = watch.seconds();
    // A job of a few seconds needs no lines about it.
    if (now > 2) {
      progress.step_done({.step = n_done + 1,
                          .epoch = -1,
                          .tokens = static_cast<double>(tokens),
                          .seconds = now - last});
    }
    last = now;
    ++n_done;
  };
  if (ranks.is_master() && !ranks.is_single()) {
    while (n_done < n_pieces) {
      const CommandRanks::Result result = ranks.receive_result(deadline);
      take(result.piece, result.bytes);
    }
  } else if (shard.has_decoder()) {
    const std::vector<int> data_rank = assign_pieces(work.costs, layout.data);
    for (int piece = 0; piece < n_pieces; ++piece) {
      if (data_rank[base::index(piece)] != shard.at().data) continue;
      std::string bytes;
      shard.run([&] { bytes = work.compute(piece); });
      if (ranks.is_single()) {
        take(piece, bytes);
      } else if (shard.is_dp_head()) {
        ranks.send_result(piece, bytes);
      }
    }
  }
  totals.seconds = watch.seconds();
  return totals;
}

void print_totals(const std::string& command, size_t n_sequences, const PieceTotals& totals) {
  char rate[32];
  std::snprintf(rate, sizeof(rate), "%.0f",
                static_cast<double>(totals.tokens) / std::max(totals.seconds, 1e-9));
  std::cerr << base::concat(command, ": ", base::counted(n_sequences, "sequence"), ", ",
                            base::counted(totals.tokens, "token"), " in ",
                            base::duration_text(std::chrono::duration<double>(totals.seconds)),
                            ", ", rate, " tokens/s\n")
            << std::flush;
}

}  // namespace orrery::cli
