#include "orrery/comm/registry.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>  // find
#include <cctype>     // isdigit
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::comm {

namespace {

/// `actor.0/tensor1` -> `actor.0/tensor`: a worker is in at most one group of a family.
std::string family_of(std::string name) {
  while (!name.empty() && std::isdigit(static_cast<unsigned char>(name.back())) != 0) {
    name.pop_back();
  }
  return name;
}

std::string family_name(const graph::ReplicaId& replica, graph::GroupKind kind) {
  return base::concat(replica.text(), "/", graph::name_of(kind));
}

bool has_member(const graph::Group& group, int worker) {
  return std::find(group.workers.begin(), group.workers.end(), worker) != group.workers.end();
}

/// Connections are made at the first message between two ranks: now, not in the first step.
void open_connections(Communicator& workers) {
  for (const at::DeviceType type : {at::kCPU, at::kCUDA}) {
    if (!workers.carries(type)) continue;
    const auto options = at::TensorOptions().dtype(at::kByte).device(type);
    std::vector<Send> sends;
    std::vector<Receive> receives;
    for (int peer = 0; peer < workers.size(); ++peer) {
      sends.push_back({.peer = peer, .tensor = at::zeros({1}, options)});
      receives.push_back({.peer = peer, .tensor = at::empty({1}, options)});
    }
    workers.exchange(sends, receives);
  }
}

}  // namespace

CommunicatorRegistry CommunicatorRegistry::create(std::unique_ptr<Communicator> workers,
                                                  const graph::CommunicatorPlan& plan) {
  if (plan.n_workers != workers->size() || plan.groups.empty() || plan.splits.empty()) {
    throw CallError(
        "the plan of communicators does not fit the workers",
        {.expected = base::concat("a plan for ", base::counted(workers->size(), "worker")),
         .got = base::concat("one for ", base::counted(plan.n_workers, "worker"), " with ",
                             base::counted(plan.groups.size(), "group")),
         .advice = "this is a fault of the program: report it"});
  }
  CommunicatorRegistry registry;
  registry.owned_.push_back(std::move(workers));
  Communicator& all = registry.workers();
  const int worker = all.rank();
  open_connections(all);

  std::vector<Communicator*> made(plan.groups.size(), nullptr);  // by group
  made[0] = &all;  // splits[0] made it: the caller brought it
  for (std::size_t s = 1; s < plan.splits.size(); ++s) {
    const graph::ColouredSplit& split = plan.splits[s];
    std::size_t mine = plan.groups.size();
    for (std::size_t g = 0; g < plan.groups.size(); ++g) {
      if (plan.groups[g].split == static_cast<int>(s) && has_member(plan.groups[g], worker)) {
        mine = g;
      }
    }
    const bool takes_part = mine < plan.groups.size();
    const auto i = static_cast<std::size_t>(worker);
    std::unique_ptr<Communicator> group =
        all.split(takes_part ? split.colour.at(i) : Communicator::kNoColour, split.key.at(i),
                  takes_part ? plan.groups[mine].names.front() : split.family);
    ORRERY_ASSERT(takes_part == (group != nullptr), "a split gives a group to those with a colour");
    if (!group) continue;
    ORRERY_ASSERT(group->workers() == plan.groups[mine].workers, "the group that was planned");
    made[mine] = group.get();
    registry.owned_.push_back(std::move(group));
  }

  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    if (!has_member(plan.groups[g], worker)) continue;
    for (const std::string& name : plan.groups[g].names) {
      registry.by_family_[family_of(name)] = made[g];
    }
  }
  return registry;
}

Communicator* CommunicatorRegistry::find(const graph::ReplicaId& replica,
                                         graph::GroupKind kind) const {
  const auto found = by_family_.find(family_name(replica, kind));
  return found == by_family_.end() ? nullptr : found->second;
}

Communicator& CommunicatorRegistry::at(const graph::ReplicaId& replica,
                                       graph::GroupKind kind) const {
  if (Communicator* group = find(replica, kind)) return *group;
  throw CallError(
      base::concat("worker ", workers().rank(), " has no group ", family_name(replica, kind)),
      {.expected = "a worker that holds a shard of the replica",
       .got = base::concat("groups ",
                           [this] {
                             std::vector<std::string> names;
                             for (const auto& [family, group] : by_family_) names.push_back(family);
                             return base::join(names, ", ");
                           }()),
       .advice = "this is a fault of the program: report it"});
}

void CommunicatorRegistry::throw_if_failed() const {
  for (const auto& group : owned_) group->throw_if_failed();
}

void CommunicatorRegistry::run_checked(const std::function<void()>& work) const {
  try {
    work();
  } catch (const std::exception&) {
    throw_if_failed();
    throw;
  }
  throw_if_failed();
}

}  // namespace orrery::comm
