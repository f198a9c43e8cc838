#include "offload_choice.h"

#include <algorithm>
#include <optional>

#include "orrery/base/text.h"
#include "residency.h"

namespace orrery::cli {

namespace {

/// A role whose place is open.
struct OpenRole {
  std::string name;
  IdlePart part = IdlePart::kNothing;
  int64_t bytes = 0;  ///< that go to the host, of the worker where they are most
};

void set_offload(Job& job, const std::string& role, const std::string& value) {
  for (auto& [name, model] : job.experiment.models) {
    if (name == role) model.offload = value;
  }
}

using Plan = std::vector<std::vector<PhaseMemory>>;

/// The most that a worker's phase has on the host.
int64_t most_offloaded(const Plan& plan) {
  int64_t most = 0;
  for (const std::vector<PhaseMemory>& phases : plan) {
    for (const PhaseMemory& phase : phases) most = std::max(most, phase.offloaded);
  }
  return most;
}

/// The largest first.
std::vector<OpenRole> open_roles(Job& job) {
  std::vector<OpenRole> roles;
  for (const auto& [name, model] : job.experiment.models) {
    const IdlePart part = idle_part_of(job, name);
    if (model.offload == "auto" && part != IdlePart::kNothing) {
      roles.push_back({.name = name, .part = part});
    }
  }
  for (const OpenRole& role : roles) set_offload(job, role.name, "never");
  const int64_t of_others = most_offloaded(plan_gpu_memory(job));
  for (OpenRole& role : roles) {
    set_offload(job, role.name, "when_idle");
    role.bytes = most_offloaded(plan_gpu_memory(job)) - of_others;
    set_offload(job, role.name, "never");
  }
  std::stable_sort(roles.begin(), roles.end(),
                   [](const OpenRole& a, const OpenRole& b) { return a.bytes > b.bytes; });
  return roles;
}

/// Of the phases beyond `room` that take more with a role on the GPU than without the one that
/// takes most.
std::optional<PhaseMemory> outgrown_by_staying(const Plan& with, const Plan& without, double room) {
  std::optional<PhaseMemory> worst;
  for (size_t worker = 0; worker < with.size(); ++worker) {
    for (size_t i = 0; i < with[worker].size(); ++i) {
      const PhaseMemory& phase = with[worker][i];
      const int64_t bytes = phase.of_the_program();
      if (static_cast<double>(bytes) <= room) continue;
      if (bytes <= without[worker][i].of_the_program()) continue;
      if (!worst || bytes > worst->of_the_program()) worst = phase;
    }
  }
  return worst;
}

}  // namespace

std::string OffloadChoice::text() const {
  return base::concat("model.", role, ".offload = ", is_offloaded ? "when_idle" : "never",
                      " (auto): ", reason);
}

std::vector<OffloadChoice> choose_offload(Job& job, const GpuMemory& gpu) {
  const std::vector<OpenRole> roles = open_roles(job);
  for (const OpenRole& role : roles) set_offload(job, role.name, "when_idle");
  const double lost = gpu.allowances.sum(job.n_workers) * kGb;
  const double room = gpu.memory_gb * kGb - lost;
  std::vector<OffloadChoice> choices;
  for (const OpenRole& role : roles) {
    const Plan without = plan_gpu_memory(job);
    set_offload(job, role.name, "never");
    const auto outgrown = outgrown_by_staying(plan_gpu_memory(job), without, room);
    const std::string what =
        base::concat("its ", role.part == IdlePart::kOptimizer ? "optimizer's state" : "parameters",
                     " (", gb(static_cast<double>(role.bytes)), " GB)");
    OffloadChoice& choice = choices.emplace_back(
        OffloadChoice{.role = role.name, .is_offloaded = outgrown.has_value(), .reason = {}});
    if (!outgrown) {
      choice.reason = base::concat("every phase fits with ", what);
      continue;
    }
    set_offload(job, role.name, "when_idle");
    choice.reason = base::concat("with ", what, " ", outgrown->phase, " would take ",
                                 gb(static_cast<double>(outgrown->of_the_program()) + lost),
                                 " of the ", gb(gpu.memory_gb * kGb), " GB of a GPU");
  }
  return choices;
}

}  // namespace orrery::cli
