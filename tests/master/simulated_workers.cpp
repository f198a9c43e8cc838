#include "simulated_workers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <sstream>

#include "orrery/base/overload.h"
#include "orrery/graph/topology.h"

namespace orrery::master {

namespace {

size_t at(int index) { return static_cast<size_t>(index); }

bool is_in(const std::vector<int>& list, int item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

/// What counts as time of calls.
bool is_of_call(const comm::Request& request) {
  return request.kind == comm::RequestKind::kGenerate ||
         request.kind == comm::RequestKind::kInference ||
         request.kind == comm::RequestKind::kTrainStep ||
         request.kind == comm::RequestKind::kEvaluate;
}

/// Whether all workers of a call's layout do it together.
bool is_collective(const comm::Request& request) {
  return is_of_call(request) || request.kind == comm::RequestKind::kExport;
}

bool is_transfer(const comm::Hook* hook) {
  return hook != nullptr && std::holds_alternative<comm::DataTransferHook>(*hook);
}

data::KeyMetadata metadata_for_test(const std::vector<data::SampleId>& ids,
                                    const std::string& key) {
  data::KeyMetadata made{.key = key, .trailing_shape = {}, .lengths = {}};
  for (const data::SampleId id : ids) made.lengths.add_sample(lengths_for_test(id, key));
  return made;
}

}  // namespace

std::vector<int32_t> lengths_for_test(data::SampleId id, const std::string& key) {
  const uint64_t mixed = (id.value + 17 * std::hash<std::string>()(key)) * 0x9e3779b97f4a7c15ULL;
  std::vector<int32_t> lengths;
  for (uint64_t member = 0; member <= mixed % 3; ++member) {
    lengths.push_back(static_cast<int32_t>((mixed >> (8 * member + 7)) % 40));
  }
  return lengths;
}

SimulatedWorkers::SimulatedWorkers(const graph::Graph& graph, int n_workers, int64_t steps_done,
                                   const graph::ResidencyPolicy& residency)
    : graph_(graph), workers_(at(n_workers)), replicas_(graph::replicas_of(graph)) {
  for (const graph::Replica& replica : replicas_) {
    for (const int worker : replica.layout.workers) {
      Parameters& parameters = workers_[at(worker)].parameters[replica.id];
      if (residency.offload_when_idle.contains(replica.id.role) &&
          !graph::is_updated(graph, replica.id.role)) {
        parameters.residence = Residence::kHost;
      }
      parameters.optimizer = residency.offload_optimizer.contains(replica.id.role)
                                 ? Residence::kHost
                                 : Residence::kDevice;
      if (replica.origin != graph::Origin::kRealloc) continue;
      parameters = {.version = -1, .residence = Residence::kAbsent};
    }
  }
  for (int index = 0; index < graph.size(); ++index) {
    const graph::Call& call = graph.call(index);
    if (!call.has_parameters) continue;
    if (call.kind == graph::CallKind::kTrainStep) {
      changes_per_step_[call.role] += graph.calls_per_step(index);
    }
    if (!call.post_realloc.empty()) {
      changes_per_step_[call.post_realloc] += graph.calls_per_step(index);
    }
  }
  for (Worker& worker : workers_) {
    for (auto& [id, parameters] : worker.parameters) {
      const auto changes = changes_per_step_.find(id.role);
      if (changes == changes_per_step_.end() || parameters.version < 0) continue;
      parameters.version = steps_done * changes->second;
    }
  }
}

void SimulatedWorkers::receive(const std::vector<Outgoing>& outgoing) {
  if (outgoing.empty()) return;
  const comm::RequestKind last = outgoing.back().request.kind;
  EXPECT_TRUE(last == comm::RequestKind::kFlush || last == comm::RequestKind::kExit);
  for (const Outgoing& out : outgoing) {
    EXPECT_FALSE(exited_) << "a request after the exit";
    if (out.worker != kEveryWorker) {
      workers_[at(out.worker)].waiting.push_back(std::make_shared<comm::Request>(out.request));
    } else if (out.request.kind == comm::RequestKind::kExit) {
      exited_ = true;
    } else {
      for (size_t worker = 0; worker < workers_.size(); ++worker) flush(static_cast<int>(worker));
    }
  }
}

void SimulatedWorkers::flush(int index) {
  Worker& worker = workers_[at(index)];
  std::vector<Action> handles, post_hooks;
  for (const auto& request : worker.waiting) {
    for (const data::SampleId id : request->clear) {
      const auto first = worker.store.lower_bound({id.value, ""});
      auto last = first;
      while (last != worker.store.end() && last->first.first == id.value) ++last;
      EXPECT_NE(first, last) << "told to forget what it never had";
      worker.store.erase(first, last);
    }
    auto reply = std::make_shared<comm::Reply>();
    reply->worker = index;
    reply->request = request->id;
    reply->call = request->call;
    for (const comm::Hook& hook : request->pre_hooks) {
      const bool moves_memory = std::holds_alternative<comm::ResidencyHook>(hook);
      if (moves_memory) {
        handles.push_back({request, reply, &hook});
      } else {
        worker.actions.push_back({request, reply, &hook});
      }
    }
    if (request->kind != comm::RequestKind::kEmpty) handles.push_back({request, reply});
    for (const comm::Hook& hook : request->post_hooks) {
      (comm::meets_other_workers(hook) ? post_hooks : handles).push_back({request, reply, &hook});
    }
    post_hooks.push_back({.request = request, .reply = reply, .hook = nullptr, .is_reply = true});
  }
  worker.waiting.clear();
  for (Action& action : handles) worker.actions.push_back(std::move(action));
  for (Action& action : post_hooks) worker.actions.push_back(std::move(action));
  for (Action& action : worker.actions) {
    if (action.not_before == 0) action.not_before = now_;
  }
}

/// Whole numbers, so that sums do not depend on their order.
double SimulatedWorkers::duration_of(const Action& action) const {
  if (action.is_reply) return 0;
  if (action.hook != nullptr) {
    return std::holds_alternative<comm::ReallocHook>(*action.hook) ? 3 : 1;
  }
  switch (action.request->kind) {
    case comm::RequestKind::kGenerate:
    case comm::RequestKind::kInference:
    case comm::RequestKind::kTrainStep:
      return 4 + action.request->call * 5 % 17;
    case comm::RequestKind::kEvaluate:
      return 7;
    default:
      return 1;
  }
}

int SimulatedWorkers::work(int limit) {
  int done = 0;
  for (bool any = true; any && done < limit;) {
    any = false;
    for (size_t worker = 0; worker < workers_.size() && done < limit; ++worker) {
      if (workers_[worker].actions.empty() || !step(static_cast<int>(worker))) continue;
      any = true;
      ++done;
    }
  }
  return done;
}

bool SimulatedWorkers::step(int index) {
  Worker& worker = workers_[at(index)];
  Action& action = worker.actions.front();
  if (action.is_reply) {
    worker.replies.emplace_back(worker.time, std::move(*action.reply));
    worker.actions.pop_front();
    return true;
  }
  if (is_transfer(action.hook)) return exchange(index);
  return run_collective(participants(action));
}

std::vector<const comm::Transfer*> SimulatedWorkers::between(const Action& action, int a,
                                                             int b) const {
  std::vector<const comm::Transfer*> result;
  for (const comm::Transfer& transfer : std::get<comm::DataTransferHook>(*action.hook).transfers) {
    if ((transfer.source == a && is_in(transfer.destinations, b)) ||
        (transfer.source == b && is_in(transfer.destinations, a))) {
      result.push_back(&transfer);
    }
  }
  return result;
}

/// One turn of a grouped exchange: meets every peer that is in the same one by now.
bool SimulatedWorkers::exchange(int index) {
  Worker& worker = workers_[at(index)];
  Action& action = worker.actions.front();
  bool any = false;
  if (!action.posted) {
    action.posted = any = true;
    action.ready = std::max(worker.time, action.not_before);
    for (const comm::Transfer& transfer :
         std::get<comm::DataTransferHook>(*action.hook).transfers) {
      if (transfer.source != index) {
        EXPECT_TRUE(is_in(transfer.destinations, index)) << "a transfer of others";
        action.peers_left.insert(transfer.source);
        continue;
      }
      action.peers_left.insert(transfer.destinations.begin(), transfer.destinations.end());
      for (const data::SampleId id : transfer.batch.ids) {
        for (const data::KeyMetadata& key : transfer.batch.keys) {
          EXPECT_TRUE(worker.store.contains({id.value, key.key}))
              << "worker " << index << " must send sample " << id.value << " " << key.key;
        }
      }
    }
  }
  for (const int peer : std::set<int>(action.peers_left)) {
    Worker& other = workers_[at(peer)];
    if (other.actions.empty() || !is_transfer(other.actions.front().hook) ||
        !other.actions.front().posted) {
      continue;
    }
    Action& theirs = other.actions.front();
    if (!theirs.peers_left.contains(index)) continue;  // it is in another exchange
    const auto mine = between(action, index, peer);
    const auto same = between(theirs, index, peer);
    EXPECT_EQ(mine.size(), same.size());
    for (size_t i = 0; i < std::min(mine.size(), same.size()); ++i) {
      EXPECT_EQ(mine[i]->source, same[i]->source);
      EXPECT_EQ(mine[i]->batch, same[i]->batch);
      Action& receiver = mine[i]->source == index ? theirs : action;
      for (const data::SampleId id : mine[i]->batch.ids) {
        for (const data::KeyMetadata& key : mine[i]->batch.keys) {
          receiver.received.emplace_back(id, key.key);
        }
      }
    }
    action.ready = theirs.ready = std::max(action.ready, theirs.ready);
    action.peers_left.erase(peer);
    theirs.peers_left.erase(index);
    any = true;
  }
  if (!action.peers_left.empty()) return any;
  for (const auto& [id, key] : action.received) {
    worker.store[{id.value, key}] = lengths_for_test(id, key);
  }
  worker.time = action.ready + duration_of(action);
  time_around_calls_ += duration_of(action);
  worker.actions.pop_front();
  return true;
}

std::vector<int> SimulatedWorkers::participants(const Action& action) const {
  if (action.hook != nullptr) {
    const auto* realloc = std::get_if<comm::ReallocHook>(action.hook);
    if (realloc == nullptr) return {action.reply->worker};
    const std::string& from_role = realloc->from_role.empty() ? realloc->role : realloc->from_role;
    std::set<int> united;
    for (const graph::Replica& replica : replicas_) {
      if (replica.id == graph::ReplicaId{from_role, realloc->from} ||
          replica.id == graph::ReplicaId{realloc->role, realloc->to}) {
        united.insert(replica.layout.workers.begin(), replica.layout.workers.end());
      }
    }
    return {united.begin(), united.end()};
  }
  if (is_collective(*action.request)) return graph_.call(action.request->call).layout.workers;
  return {action.reply->worker};
}

bool SimulatedWorkers::matches(const Action& a, const Action& b) const {
  if (a.is_reply || b.is_reply || (a.hook == nullptr) != (b.hook == nullptr)) return false;
  if (a.hook == nullptr) {
    return a.request->call == b.request->call && a.request->kind == b.request->kind &&
           a.request->step == b.request->step;
  }
  const auto* x = std::get_if<comm::ReallocHook>(a.hook);
  const auto* y = std::get_if<comm::ReallocHook>(b.hook);
  return x == y || (x != nullptr && y != nullptr && x->role == y->role && x->from == y->from &&
                    x->to == y->to && x->from_role == y->from_role && x->version == y->version);
}

/// Runs the action at the head of all participants' queues, if it is the same.
bool SimulatedWorkers::run_collective(const std::vector<int>& participants) {
  const Action* first = nullptr;
  for (const int index : participants) {
    const Worker& worker = workers_[at(index)];
    if (worker.actions.empty()) return false;
    if (first == nullptr) first = &worker.actions.front();
    if (!matches(*first, worker.actions.front())) return false;
  }
  double end = 0;
  for (const int index : participants) {
    const Worker& worker = workers_[at(index)];
    end = std::max({end, worker.time, worker.actions.front().not_before});
  }
  end += duration_of(*first);
  (first->hook == nullptr && is_of_call(*first->request) ? time_of_calls_ : time_around_calls_) +=
      duration_of(*first);
  for (const int index : participants) {
    Action& action = workers_[at(index)].actions.front();
    if (action.hook != nullptr) {
      run_hook(index, *action.hook);
    } else {
      run_request(index, action);
    }
    action.reply->times.push_back({"main", 0.5 + index});
  }
  for (const int index : participants) {
    workers_[at(index)].actions.pop_front();
    workers_[at(index)].time = end;
  }
  return true;
}

void SimulatedWorkers::run_hook(int index, const comm::Hook& hook) {
  Worker& worker = workers_[at(index)];
  std::visit(
      base::Overload{
          [&worker](const comm::ResidencyHook& residency) { move_parameters(residency, worker); },
          [&worker](const comm::ReallocHook& realloc) { fill_parameters(realloc, worker); },
          [](const comm::DataTransferHook&) {},  // exchange() has done it
          [](const comm::KeepSamplesHook&) {},
      },
      hook);
}

void SimulatedWorkers::move_parameters(const comm::ResidencyHook& hook, Worker& worker) {
  Parameters& parameters = worker.parameters.at({hook.role, hook.replica});
  switch (hook.action) {
    case comm::ResidencyHook::kOffload:
      EXPECT_EQ(parameters.residence, Residence::kDevice);
      parameters.residence = Residence::kHost;
      break;
    case comm::ResidencyHook::kPrefetch:
      EXPECT_EQ(parameters.residence, Residence::kHost);
      parameters.residence = Residence::kDevice;
      break;
    case comm::ResidencyHook::kRelease:
      EXPECT_EQ(parameters.residence, Residence::kDevice);
      parameters = {.version = -1, .residence = Residence::kAbsent};
      break;
    case comm::ResidencyHook::kOffloadOptimizer:
      EXPECT_EQ(parameters.optimizer, Residence::kDevice);
      parameters.optimizer = Residence::kHost;
      break;
    case comm::ResidencyHook::kFetchOptimizer:
      EXPECT_EQ(parameters.optimizer, Residence::kHost);
      parameters.optimizer = Residence::kDevice;
      break;
  }
}

void SimulatedWorkers::fill_parameters(const comm::ReallocHook& hook, Worker& worker) {
  const std::string& from_role = hook.from_role.empty() ? hook.role : hook.from_role;
  const auto from = worker.parameters.find({from_role, hook.from});
  if (from != worker.parameters.end()) {
    EXPECT_EQ(from->second.residence, Residence::kDevice) << "sends parameters from the host";
    if (from_role == hook.role) {
      EXPECT_EQ(from->second.version, static_cast<int64_t>(hook.version));
    }
  }
  const auto to = worker.parameters.find({hook.role, hook.to});
  if (to != worker.parameters.end()) {
    EXPECT_NE(to->second.residence, Residence::kHost);
    to->second = {.version = static_cast<int64_t>(hook.version), .residence = Residence::kDevice};
  }
}

void SimulatedWorkers::run_request(int index, Action& action) {
  const comm::Request& request = *action.request;
  Worker& worker = workers_[at(index)];
  if (worker.saving) {  // written by now
    action.reply->saved.push_back({.step = *worker.saving, .file = "shard", .size = 1, .hash = 1});
    worker.saving.reset();
  }
  switch (request.kind) {
    case comm::RequestKind::kLoad: {
      for (const data::RowRef& row : request.rows) action.reply->output.ids.push_back(row.id);
      std::vector<std::string> keys = graph_.dataset_keys();
      keys.push_back("a key that no call reads");
      for (const std::string& key : keys) {
        action.reply->output.keys.push_back(metadata_for_test(action.reply->output.ids, key));
        for (const data::SampleId id : action.reply->output.ids) {
          worker.store[{id.value, key}] = lengths_for_test(id, key);
        }
      }
      break;
    }
    case comm::RequestKind::kEvaluate:
      ++n_evaluations_;
      action.reply->evaluation.mean("accuracy", 1, 2);
      // Rises up to the fourth step.
      action.reply->evaluation.scalar("rising",
                                      static_cast<double>(std::min<int64_t>(request.step.step, 4)));
      break;
    case comm::RequestKind::kExport:
      ++n_saves_;
      break;
    case comm::RequestKind::kSave:
      ++n_saves_;
      worker.saving = request.step.step;
      break;
    case comm::RequestKind::kGenerate:
    case comm::RequestKind::kInference:
    case comm::RequestKind::kTrainStep:
      run_call(index, action);
      break;
    default:
      break;
  }
}

void SimulatedWorkers::check_version(int index, const graph::Call& call,
                                     const comm::Request& request) {
  if (!call.has_parameters) return;
  Parameters& parameters = workers_[at(index)].parameters.at({call.role, call.replica});
  EXPECT_EQ(parameters.residence, Residence::kDevice) << call.name << " runs without parameters";
  if (call.kind == graph::CallKind::kTrainStep) {
    EXPECT_EQ(parameters.optimizer, Residence::kDevice) << call.name << " runs without optimizer";
    ++parameters.version;
    return;
  }
  // All calls of a step see the parameters with which the step began.
  const auto changes = changes_per_step_.find(call.role);
  const int64_t per_step = changes == changes_per_step_.end() ? 0 : changes->second;
  EXPECT_EQ(parameters.version, (request.step.step - 1) * per_step) << call.name;
}

void SimulatedWorkers::run_call(int index, Action& action) {
  const comm::Request& request = *action.request;
  const graph::Call& call = graph_.call(request.call);
  Worker& worker = workers_[at(index)];
  check_version(index, call, request);
  EXPECT_EQ(request.batch.keys.size(), call.inputs.size());
  EXPECT_FALSE(request.batch.ids.empty());
  for (const data::KeyMetadata& key : request.batch.keys) {
    for (size_t i = 0; i < request.batch.ids.size(); ++i) {
      const auto found = worker.store.find({request.batch.ids[i].value, key.key});
      const auto told = key.lengths.of(i);
      if (found == worker.store.end()) {
        ADD_FAILURE() << call.name << ": worker " << index << " lacks sample "
                      << request.batch.ids[i].value << " " << key.key;
      } else {
        EXPECT_EQ(found->second, std::vector<int32_t>(told.begin(), told.end()));
      }
    }
  }

  const graph::Topology topology = graph::topology_of(call.layout);
  const auto rank =
      static_cast<int>(std::find(call.layout.workers.begin(), call.layout.workers.end(), index) -
                       call.layout.workers.begin());
  if (!topology.is_dp_head(rank)) {
    action.reply->output.ids = {{424242}};  // must be ignored
    action.reply->statistics.resize(1);
    action.reply->statistics[0].mean("loss", 1e9, 1);
    return;
  }
  std::vector<uint64_t>& batch = batches_[{request.step.step, request.call}].emplace_back();
  batch.push_back(static_cast<uint64_t>(topology.coordinate(rank).data));
  for (const data::SampleId id : request.batch.ids) batch.push_back(id.value);
  action.reply->statistics.resize(2);
  for (metrics::Statistics& statistics : action.reply->statistics) {
    statistics.mean("loss", static_cast<double>(request.batch.ids.size()) * 3,
                    static_cast<double>(request.batch.ids.size()));
  }
  if (call.kind == graph::CallKind::kTrainStep) return;
  action.reply->output.ids = request.batch.ids;
  for (const config::KeyBinding& output : call.outputs) {
    action.reply->output.keys.push_back(metadata_for_test(request.batch.ids, output.graph_key));
    for (const data::SampleId id : request.batch.ids) {
      worker.store[{id.value, output.graph_key}] = lengths_for_test(id, output.graph_key);
    }
  }
}

std::vector<comm::Reply> SimulatedWorkers::some_replies(Random& random) {
  std::vector<comm::Reply> replies;
  while (true) {
    std::vector<size_t> with_replies;
    for (size_t worker = 0; worker < workers_.size(); ++worker) {
      if (!workers_[worker].replies.empty()) with_replies.push_back(worker);
    }
    if (with_replies.empty() || (!replies.empty() && random.chance(30))) return replies;
    Worker& worker =
        workers_[with_replies[at(random.between(0, static_cast<int>(with_replies.size()) - 1))]];
    now_ = std::max(now_, worker.replies.front().first);
    replies.push_back(std::move(worker.replies.front().second));
    worker.replies.pop_front();
  }
}

std::vector<comm::Reply> SimulatedWorkers::first_replies() {
  std::optional<double> first;
  for (const Worker& worker : workers_) {
    if (worker.replies.empty()) continue;
    first = std::min(first.value_or(worker.replies.front().first), worker.replies.front().first);
  }
  std::vector<comm::Reply> replies;
  if (!first) return replies;
  now_ = std::max(now_, *first);
  for (Worker& worker : workers_) {
    while (!worker.replies.empty() && worker.replies.front().first <= now_) {
      replies.push_back(std::move(worker.replies.front().second));
      worker.replies.pop_front();
    }
  }
  return replies;
}

std::string SimulatedWorkers::standstill() const {
  std::ostringstream text;
  for (size_t worker = 0; worker < workers_.size(); ++worker) {
    text << "\n  worker " << worker << ": ";
    if (workers_[worker].actions.empty()) {
      text << "idle";
      continue;
    }
    const Action& action = workers_[worker].actions.front();
    const int call = action.request->call;
    text << (call < 0 ? "no call" : graph_.call(call).name) << ' '
         << (action.hook == nullptr ? comm::name_of(action.request->kind)
                                    : comm::name_of(*action.hook));
    for (const int peer : action.peers_left) text << ' ' << peer;
  }
  return text.str();
}

std::set<uint64_t> SimulatedWorkers::samples_held() const {
  std::set<uint64_t> ids;
  for (const Worker& worker : workers_) {
    for (const auto& [key, lengths] : worker.store) ids.insert(key.first);
  }
  return ids;
}

}  // namespace orrery::master
