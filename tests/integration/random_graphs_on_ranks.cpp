// Random graphs with the real master, control channel, request loop, transfers and communicators on
// MPI ranks; only the models are missing: a call is a collective over its workers, a reallocation
// an exchange between those of both replicas. Exits with 0 when all of them ran to their ends.
//
//   mpirun -n 5 random_graphs_on_ranks N_GRAPHS
#include <ATen/ATen.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <set>

#include "master/random_trial_for_test.h"
#include "master/simulated_workers.h"  // lengths_for_test
#include "orrery/base/error.h"
#include "orrery/base/overload.h"
#include "orrery/base/text.h"
#include "orrery/comm/mpi_communicator.h"
#include "orrery/comm/mpi_control_channel.h"
#include "orrery/comm/mpi_session.h"
#include "orrery/comm/node_map.h"
#include "orrery/comm/registry.h"
#include "orrery/graph/topology.h"
#include "orrery/master/step_loop.h"
#include "orrery/worker/data_store.h"
#include "orrery/worker/data_transfer.h"
#include "orrery/worker/request_loop.h"

namespace orrery::integration {
namespace {

constexpr double kDeadlineSeconds = 60;

void require(bool condition, const std::string& what) {
  if (!condition) throw CallError(what);
}

/// A sample's tensor says whose it is: every element is its id.
data::SequenceBatch batch_of(const std::vector<data::SampleId>& ids,
                             const std::vector<std::string>& keys) {
  data::SequenceBatch batch;
  batch.meta.ids = ids;
  for (const std::string& key : keys) {
    data::NestedLengths lengths;
    std::vector<at::Tensor> parts;
    for (const data::SampleId id : ids) {
      const std::vector<int32_t> own = master::lengths_for_test(id, key);
      lengths.add_sample(own);
      int64_t n = 0;
      for (const int32_t length : own) n += length;
      parts.push_back(at::full({n}, static_cast<int64_t>(id.value), at::kLong));
    }
    if (!parts.empty()) batch.set(key, at::cat(parts), lengths);
  }
  return batch;
}

class CollectiveWorker final : public worker::Handlers {
 public:
  CollectiveWorker(const graph::Graph& graph, int worker, comm::CommunicatorRegistry& registry)
      : graph_(graph), replicas_(graph::replicas_of(graph)), worker_(worker), registry_(registry) {}

  void begin(const comm::Request& request) override { store_.clear(request.clear); }

  void run_hook(const comm::Request&, const comm::Hook& hook, comm::Reply&) override {
    std::visit(base::Overload{
                   [this](const comm::DataTransferHook& transfer) {
                     worker::run_transfers(transfer.transfers, registry_.workers(), store_);
                   },
                   [this](const comm::ReallocHook& realloc) { meet(realloc); },
                   [](const comm::ResidencyHook&) {},
                   [](const comm::KeepSamplesHook&) {},
               },
               hook);
  }

  void run_request(const comm::Request& request, comm::Reply& reply) override {
    switch (request.kind) {
      case comm::RequestKind::kLoad: {
        std::vector<data::SampleId> ids;
        for (const data::RowRef& row : request.rows) ids.push_back(row.id);
        const data::SequenceBatch batch = batch_of(ids, graph_.dataset_keys());
        store_.put(batch);
        reply.output = batch.meta;
        return;
      }
      case comm::RequestKind::kGenerate:
      case comm::RequestKind::kInference:
      case comm::RequestKind::kTrainStep:
        return run_call(request, reply);
      default:
        return;
    }
  }

 private:
  /// Everyone of both replicas sends a number to everyone of them.
  void meet(const comm::ReallocHook& hook) {
    std::set<int> united;
    for (const graph::Replica& replica : replicas_) {
      const std::string& from_role = hook.from_role.empty() ? hook.role : hook.from_role;
      if (replica.id == graph::ReplicaId{from_role, hook.from} ||
          replica.id == graph::ReplicaId{hook.role, hook.to}) {
        united.insert(replica.layout.workers.begin(), replica.layout.workers.end());
      }
    }
    std::vector<comm::Send> sends;
    std::vector<comm::Receive> receives;
    for (const int peer : united) {
      if (peer == worker_) continue;
      sends.push_back({.peer = peer, .tensor = at::full({3}, hook.version, at::kDouble)});
      receives.push_back({.peer = peer, .tensor = at::zeros({3}, at::kDouble)});
    }
    registry_.workers().exchange(sends, receives);
    for (const comm::Receive& receive : receives) {
      require(receive.tensor[2].item<double>() == static_cast<double>(hook.version),
              "parameters of another version");
    }
  }

  void run_call(const comm::Request& request, comm::Reply& reply) {
    const graph::Call& call = graph_.call(request.call);
    const data::SequenceBatch batch = store_.gather(request.batch);
    for (const auto& [key, tensor] : batch.data) {
      int64_t begin = 0;
      const data::NestedLengths& lengths = batch.meta.at(key).lengths;
      for (size_t i = 0; i < batch.size(); ++i) {
        const int64_t n = lengths.total(i);
        const auto id = static_cast<int64_t>(batch.meta.ids[i].value);
        require(at::all(tensor.narrow(0, begin, n) == id).item<bool>(), "another sample's tensor");
        begin += n;
      }
    }
    if (comm::Communicator* const group =
            registry_.find({call.role, call.replica}, graph::GroupKind::kModel)) {
      at::Tensor sum = at::full({2}, request.call + 1, at::kDouble);
      group->all_reduce(sum, comm::ReduceOp::kSum);
      require(sum[0].item<double>() == group->size() * (request.call + 1.0),
              "a collective of another call");
    }
    const graph::Topology topology = graph::topology_of(call.layout);
    const auto rank = static_cast<int>(
        std::find(call.layout.workers.begin(), call.layout.workers.end(), worker_) -
        call.layout.workers.begin());
    if (!topology.is_dp_head(rank)) return;
    if (call.kind == graph::CallKind::kTrainStep) {
      reply.statistics.resize(1);
      reply.statistics[0].mean("loss", 1, 1);
      return;
    }
    std::vector<std::string> keys;
    for (const config::KeyBinding& output : call.outputs) keys.push_back(output.graph_key);
    const data::SequenceBatch output = batch_of(request.batch.ids, keys);
    store_.put(output);
    reply.output = output.meta;
  }

  const graph::Graph& graph_;
  std::vector<graph::Replica> replicas_;
  int worker_;
  comm::CommunicatorRegistry& registry_;
  worker::DataStore store_;
};

class StepCounter final : public master::StepObserver {
 public:
  void on_step(const master::StepReport&) override { ++n_steps; }
  void on_evaluation(const master::EvaluationReport&) override {}
  void on_save(const master::SaveReport&) override {}
  void on_finish(const master::FinishReport&) override {}
  int64_t n_steps = 0;
};

void run_round(int round, const comm::MpiSession& mpi, const comm::NodeMap& nodes) {
  const int n_workers = mpi.size() - 1;
  master::Trial trial = master::random_trial(round, n_workers);
  const comm::CommunicatorOptions options{.deadline =
                                              std::chrono::duration<double>(kDeadlineSeconds)};
  if (mpi.rank() == 0) {
    const auto channel = comm::make_mpi_control_channel(mpi.world(), nodes);
    comm::make_worker_communicator(mpi.world(), nodes, {});  // collective
    master::Dispatcher dispatcher(trial.graph, master::order_for(trial.graph), trial.options);
    StepCounter counter;
    master::run_steps(dispatcher, *channel, counter, {.deadline_seconds = kDeadlineSeconds});
    require(counter.n_steps == master::kTrialSteps, "steps are missing");
    return;
  }
  const int worker = nodes.worker_of_rank[static_cast<size_t>(mpi.rank())];
  const auto channel = comm::make_mpi_worker_channel(mpi.world());
  comm::CommunicatorRegistry registry = comm::CommunicatorRegistry::create(
      comm::make_worker_communicator(mpi.world(), nodes, options),
      graph::plan_communicators(graph::replicas_of(trial.graph), n_workers));
  CollectiveWorker handlers(trial.graph, worker, registry);
  worker::serve_requests(*channel, handlers, worker);
  channel->drain(std::chrono::seconds(30));
}

}  // namespace
}  // namespace orrery::integration

int main(int argc, char** argv) {
  const int n_rounds = argc > 1 ? std::atoi(argv[1]) : 200;
  const orrery::comm::MpiSession mpi(&argc, &argv);
  const orrery::comm::NodeMap nodes = orrery::comm::map_nodes(mpi.world());
  for (int round = 0; round < n_rounds; ++round) {
    try {
      orrery::integration::run_round(round, mpi, nodes);
    } catch (const std::exception& error) {
      std::cerr << "rank " << mpi.rank() << ", round " << round
                << ", ORRERY_SEED=" << orrery::master::base_seed() << ": " << error.what()
                << std::endl;
      orrery::comm::abort_job(1);
    }
  }
  if (mpi.rank() == 0) {
    std::cout << n_rounds << " random graphs ran on " << mpi.size() << " ranks" << std::endl;
  }
  return 0;
}
