#include "orrery/master/replica_state.h"

#include <algorithm>
#include <set>
#include <utility>
#include <variant>

#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/overload.h"
#include "orrery/base/text.h"

namespace orrery::master {

namespace {

/// Workers of both layouts, each once, those of the first one first.
std::vector<int> united(const graph::Layout& a, const graph::Layout& b) {
  std::vector<int> workers = a.workers;
  for (const int worker : b.workers) {
    if (std::find(a.workers.begin(), a.workers.end(), worker) == a.workers.end()) {
      workers.push_back(worker);
    }
  }
  return workers;
}

PlacedHook residency_hook(const graph::Replica& replica, comm::ResidencyHook::Action action) {
  return {
      comm::ResidencyHook{.role = replica.id.role, .replica = replica.id.index, .action = action},
      replica.layout.workers};
}

/// Field `to` of a message is a replica of `role`, `from` one of `from_role` (empty: of `role`).
PlacedHook realloc_hook(const graph::ParamRealloc& realloc, const graph::Replica& from,
                        const graph::Replica& to, int64_t version) {
  const bool same_role = realloc.from.role == realloc.to.role;
  return {comm::ReallocHook{.role = realloc.to.role,
                            .from = realloc.from.index,
                            .to = realloc.to.index,
                            .from_role = same_role ? std::string() : realloc.from.role,
                            .eta = realloc.eta,
                            .version = static_cast<uint64_t>(version)},
          united(from.layout, to.layout)};
}

/// Without offload and release: dispatch() sees to them after the last use of a step.
std::vector<graph::ParamRealloc> reallocations_of(const std::vector<graph::ResolvedHook>& hooks) {
  std::vector<graph::ParamRealloc> found;
  for (const graph::ResolvedHook& hook : hooks) {
    std::visit(base::Overload{
                   [&found](const graph::ParamRealloc& realloc) { found.push_back(realloc); },
                   [](const graph::Offload&) {},
                   [](const graph::Release&) {},
                   [](const graph::OffloadOptimizer&) {},
               },
               hook);
  }
  return found;
}

}  // namespace

ReplicaState::ReplicaState(const graph::Graph& graph, const graph::ResidencyPolicy& policy,
                           MemoryLimits memory)
    : graph_(&graph), memory_(std::move(memory)) {
  for (graph::Replica& replica : graph::replicas_of(graph)) {
    State state;
    const bool is_filled = replica.origin != graph::Origin::kRealloc;
    state.residence = is_filled ? Residence::kDevice : Residence::kAbsent;
    state.version = is_filled ? 0 : -1;
    state.held_in_flush = is_filled;
    const graph::ReplicaId id = replica.id;
    state.replica = std::move(replica);
    states_.emplace(id, std::move(state));
  }
  for (int call = 0; call < graph.size(); ++call) {
    hooks_.push_back(graph::hooks_of(graph, call, policy));
    for (const graph::ResolvedHook& hook : hooks_.back().post) {
      std::visit(base::Overload{
                     [](const graph::ParamRealloc&) {},
                     [this](const graph::Offload& offload) {
                       State& state = find(offload.replica);  // workers begin with it on the host
                       state.offloaded_when_idle = true;
                       state.residence = Residence::kHost;
                       state.held_in_flush = false;
                     },
                     [this](const graph::Release& release) {
                       find(release.replica).released_when_idle = true;
                     },
                     [this](const graph::OffloadOptimizer& offload) {
                       find(offload.replica).optimizer_is_offloaded = true;
                     },
                 },
                 hook);
    }
  }
  begin_step();
}

const ReplicaState::State& ReplicaState::find(const graph::ReplicaId& id) const {
  const auto found = states_.find(id);
  ORRERY_ASSERT(found != states_.end());
  return found->second;
}

ReplicaState::State& ReplicaState::find(const graph::ReplicaId& id) {
  return const_cast<State&>(std::as_const(*this).find(id));
}

void ReplicaState::begin_step() {
  for (auto& [id, state] : states_) {
    state.uses_left = 0;
    for (const int call : state.replica.calls) state.uses_left += graph_->calls_per_step(call);
  }
}

void ReplicaState::begin_flush() {
  for (auto& [id, state] : states_) {
    state.changes_in_flush = false;
    state.held_in_flush = state.residence == Residence::kDevice;
  }
}

bool ReplicaState::is_current(const graph::ParamRealloc& realloc) const {
  const State& from = find(realloc.from);
  const State& to = find(realloc.to);
  return to.residence != Residence::kAbsent && to.version == from.version;
}

bool ReplicaState::fits(const std::vector<const State*>& wanted) const {
  if (memory_.worker_bytes <= 0) return true;
  const auto bytes = [this](const State& state) -> int64_t {
    const auto found = memory_.shard_bytes.find(state.replica.id);
    return found == memory_.shard_bytes.end() ? 0 : found->second;
  };
  std::map<int, int64_t> used;  // by worker
  std::set<int> affected;
  for (const State* state : wanted) {
    if (state->held_in_flush) continue;
    for (const int worker : state->replica.layout.workers) {
      used[worker] += bytes(*state);
      affected.insert(worker);
    }
  }
  for (const auto& [id, state] : states_) {
    if (!state.held_in_flush) continue;
    for (const int worker : state.replica.layout.workers) used[worker] += bytes(state);
  }
  return std::all_of(affected.begin(), affected.end(),
                     [&](int worker) { return used[worker] <= memory_.worker_bytes; });
}

bool ReplicaState::must_flush_before(int call) const {
  if (!graph_->call(call).has_parameters) return false;
  std::vector<const State*> wanted = {&find({graph_->call(call).role, graph_->call(call).replica})};
  for (const graph::ParamRealloc& realloc : reallocations_of(hooks_[base::index(call)].pre)) {
    if (is_current(realloc)) continue;
    const State& from = find(realloc.from);
    if (from.changes_in_flush || find(realloc.to).changes_in_flush) return true;
    wanted.push_back(&from);
  }
  return !fits(wanted);
}

void ReplicaState::fetch(State& state, std::vector<PlacedHook>& hooks) {
  if (state.residence != Residence::kHost) return;
  hooks.push_back(residency_hook(state.replica, comm::ResidencyHook::kPrefetch));
  state.residence = Residence::kDevice;
  state.held_in_flush = true;
}

ParameterHooks ReplicaState::dispatch(int call) {
  const graph::Call& facts = graph_->call(call);
  ParameterHooks hooks;
  if (!facts.has_parameters) return hooks;
  const graph::CallHooks& resolved = hooks_[base::index(call)];
  State& own = find({facts.role, facts.replica});

  for (const graph::ParamRealloc& realloc : reallocations_of(resolved.pre)) {
    if (is_current(realloc)) continue;
    State& from = find(realloc.from);
    State& to = find(realloc.to);
    fetch(from, hooks.pre);
    hooks.pre.push_back(realloc_hook(realloc, from.replica, to.replica, from.version));
    to.version = from.version;
    to.residence = Residence::kDevice;
    to.held_in_flush = true;
  }
  fetch(own, hooks.pre);

  if (facts.kind == graph::CallKind::kTrainStep) {
    ++own.version;
    own.changes_in_flush = true;
    if (own.optimizer_is_offloaded) {
      hooks.pre.push_back(residency_hook(own.replica, comm::ResidencyHook::kFetchOptimizer));
      hooks.post.push_back(residency_hook(own.replica, comm::ResidencyHook::kOffloadOptimizer));
    }
  }
  for (const graph::ParamRealloc& realloc : reallocations_of(resolved.post)) {
    State& to = find(realloc.to);
    fetch(to, hooks.pre);
    ++to.version;
    to.changes_in_flush = true;
    hooks.post.push_back(realloc_hook(realloc, own.replica, to.replica, to.version));
  }
  if (own.offloaded_when_idle) {  // others may run before its next use in this step
    hooks.post.push_back(residency_hook(own.replica, comm::ResidencyHook::kOffload));
    own.residence = Residence::kHost;
  }
  // The last run of any call on this replica in this step releases it, whichever call that is.
  if (--own.uses_left <= 0 && own.released_when_idle) {
    hooks.post.push_back(residency_hook(own.replica, comm::ResidencyHook::kRelease));
    own.residence = Residence::kAbsent;
  }
  return hooks;
}

std::map<std::string, int64_t> ReplicaState::role_versions() const {
  std::map<std::string, int64_t> versions;
  for (const auto& [id, state] : states_) {
    const bool has_parameters = state.replica.origin != graph::Origin::kNone;
    if (id.index == 0 && has_parameters) versions[id.role] = state.version;
  }
  return versions;
}

void ReplicaState::restore(const std::map<std::string, int64_t>& role_versions) {
  for (auto& [id, state] : states_) {
    const auto found = role_versions.find(id.role);
    if (id.index == 0 && found != role_versions.end()) state.version = found->second;
    if (state.replica.origin == graph::Origin::kRealloc) {
      state.residence = Residence::kAbsent;
      state.version = -1;
    }
  }
}

}  // namespace orrery::master
