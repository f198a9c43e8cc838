#include "residency.h"

#include <algorithm>

namespace orrery::cli {

namespace {

/// Whether a call of another role reads the parameters themselves, as the student's loss does with
/// the head of its teacher.
bool is_read_by_others(const graph::Graph& graph, const std::string& role) {
  for (const graph::Call& call : graph.calls()) {
    for (const config::KeyBinding& input : call.inputs) {
      const int writer =
          input.interface_key == "teacher_hidden" ? graph.producer(input.graph_key) : -1;
      if (writer >= 0 && graph.call(writer).role == role) return true;
    }
  }
  return false;
}

/// An evaluation comes between the calls, without hooks of its own.
bool is_evaluated(const Job& job, const std::string& role) {
  const auto& sets = job.experiment.evaluation_sets;
  return std::any_of(sets.begin(), sets.end(), [&](const config::EvaluationSet& set) {
    const std::vector<int> calls = evaluating_calls(job, set);
    return std::any_of(calls.begin(), calls.end(),
                       [&](int call) { return job.graph.call(call).role == role; });
  });
}

}  // namespace

IdlePart idle_part_of(const Job& job, const std::string& role) {
  const std::vector<graph::Call>& calls = job.graph.calls();
  const bool has_parameters = std::any_of(calls.begin(), calls.end(), [&](const graph::Call& call) {
    return call.role == role && call.has_parameters;
  });
  if (!has_parameters || job.only_evaluates) return IdlePart::kNothing;
  const bool is_trained = std::any_of(calls.begin(), calls.end(), [&](const graph::Call& call) {
    return call.role == role && call.kind == graph::CallKind::kTrainStep;
  });
  if (is_trained) return IdlePart::kOptimizer;
  const bool stays = graph::is_updated(job.graph, role) || is_read_by_others(job.graph, role) ||
                     is_evaluated(job, role);
  return stays ? IdlePart::kNothing : IdlePart::kParameters;
}

graph::ResidencyPolicy residency_of(const Job& job) {
  graph::ResidencyPolicy policy;
  for (const auto& [role, model] : job.experiment.models) {
    if (model.offload != "when_idle") continue;
    const IdlePart part = idle_part_of(job, role);
    if (part == IdlePart::kParameters) policy.offload_when_idle.insert(role);
    if (part == IdlePart::kOptimizer) policy.offload_optimizer.insert(role);
  }
  return policy;
}

std::set<std::string> kept_though_idle(const Job& job) {
  std::set<std::string> roles;
  for (const auto& [role, model] : job.experiment.models) {
    const bool stays = model.offload != "when_idle";
    if (stays && idle_part_of(job, role) != IdlePart::kNothing) roles.insert(role);
  }
  return roles;
}

}  // namespace orrery::cli
