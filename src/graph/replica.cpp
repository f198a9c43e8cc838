#include "orrery/graph/replica.h"

#include <algorithm>
#include <map>

#include "orrery/base/text.h"  // concat

namespace orrery::graph {

bool is_updated(const Graph& graph, const std::string& role) {
  return std::any_of(graph.calls().begin(), graph.calls().end(), [&](const Call& call) {
    return (call.role == role && call.kind == CallKind::kTrainStep) || call.post_realloc == role;
  });
}

std::string ReplicaId::text() const { return base::concat(role, ".", index); }

std::vector<Replica> replicas_of(const Graph& graph) {
  std::vector<std::string> roles;  // in graph order
  std::map<std::string, std::map<int, Replica>> by_role;
  for (int i = 0; i < graph.size(); ++i) {
    const Call& call = graph.call(i);
    if (by_role.count(call.role) == 0) roles.push_back(call.role);
    Replica& replica = by_role[call.role][call.replica];
    if (replica.calls.empty()) {
      replica.id = {call.role, call.replica};
      replica.layout = call.layout;
      replica.origin = !call.has_parameters                               ? Origin::kNone
                       : call.replica > 0 && is_updated(graph, call.role) ? Origin::kRealloc
                                                                          : Origin::kLoad;
    }
    replica.is_trained |= call.kind == CallKind::kTrainStep;
    replica.calls.push_back(i);
  }
  std::vector<Replica> all;
  for (const std::string& role : roles) {
    for (auto& [index, replica] : by_role[role]) all.push_back(std::move(replica));
  }
  return all;
}

CallHooks hooks_of(const Graph& graph, int index, const ResidencyPolicy& policy) {
  CallHooks hooks;
  const Call& call = graph.call(index);
  if (!call.has_parameters) return hooks;
  const ReplicaId own{call.role, call.replica};
  const bool updated = is_updated(graph, call.role);
  const bool is_copy = updated && call.replica > 0;

  if (is_copy) hooks.pre.push_back(ParamRealloc{.from = {call.role, 0}, .to = own, .eta = 1});
  if (!call.post_realloc.empty()) {
    hooks.post.push_back(ParamRealloc{.from = own, .to = {call.post_realloc, 0}, .eta = call.eta});
  }
  if (is_copy) {
    hooks.post.push_back(Release{own});
  } else if (!updated && policy.offload_when_idle.count(call.role) > 0) {
    hooks.post.push_back(Offload{own});
  }
  if (call.kind == CallKind::kTrainStep && policy.offload_optimizer.contains(call.role)) {
    hooks.post.push_back(OffloadOptimizer{own});
  }
  return hooks;
}

}  // namespace orrery::graph
