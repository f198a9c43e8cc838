#include "measured_memory.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <vector>

#include "gpu_memory_plan.h"
#include "orrery/base/index.h"
#include "orrery/base/table.h"
#include "orrery/base/text.h"

namespace orrery::cli {

namespace {

constexpr const char* kReallocate = "reallocate";  // as the plan has it

/// A phase of one worker.
struct Difference {
  int worker = 0;
  int64_t planned = 0;
  comm::MemoryRecord measured;

  /// Of the plan: 0.1 is 10 % more than foretold.
  double share() const {
    return static_cast<double>(measured.peak_bytes - planned) / static_cast<double>(planned);
  }
};

base::TableRow cells(const std::string& phase, const std::string& role, const Difference& d) {
  char share[32];
  std::snprintf(share, sizeof(share), "%+.0f %%", 100 * d.share());
  return {phase,
          role,
          std::to_string(d.worker),
          base::bytes_text(d.planned),
          base::bytes_text(d.measured.peak_bytes),
          share,
          base::bytes_text(d.measured.reserved_bytes),
          base::bytes_text(d.measured.other_bytes)};
}

}  // namespace

void MeasuredMemory::add(const master::StepReport& report) {
  for (const master::CallReport& call : report.calls) {
    for (const auto& [worker, memory] : call.memory) {
      comm::MemoryRecord& most = most_[{memory.name == "main" ? call.call : kReallocate, worker}];
      most.peak_bytes = std::max(most.peak_bytes, memory.peak_bytes);
      most.reserved_bytes = std::max(most.reserved_bytes, memory.reserved_bytes);
      most.other_bytes = std::max(most.other_bytes, memory.other_bytes);
    }
  }
}

std::string MeasuredMemory::text(const Job& job) const {
  if (most_.empty()) return {};
  std::map<std::string, Difference> farthest;  // by phase
  const std::vector<std::vector<PhaseMemory>> plan = plan_gpu_memory(job);
  for (size_t worker = 0; worker < plan.size(); ++worker) {
    for (const PhaseMemory& phase : plan[worker]) {
      const auto measured = most_.find({phase.phase, static_cast<int>(worker)});
      if (measured == most_.end()) continue;
      const Difference found{.worker = static_cast<int>(worker),
                             .planned = phase.of_the_program(),
                             .measured = measured->second};
      const auto [known, is_new] = farthest.try_emplace(phase.phase, found);
      if (!is_new && std::abs(found.share()) > std::abs(known->second.share())) {
        known->second = found;
      }
    }
  }
  std::vector<base::TableRow> rows;
  for (const graph::Call& call : job.graph.calls()) {
    const auto found = farthest.find(call.name);
    if (found != farthest.end()) rows.push_back(cells(call.name, call.role, found->second));
  }
  const auto moves = farthest.find(kReallocate);
  if (moves != farthest.end()) rows.push_back(cells(kReallocate, "-", moves->second));
  return base::concat(
      "memory of GPUs, planned and measured, of the worker where they differ most; reserved is "
      "what the allocator held, other what the GPU lost beside it\n",
      base::table_text(
          {"phase", "role", "worker", "planned", "measured", "difference", "reserved", "other"},
          rows));
}

}  // namespace orrery::cli
