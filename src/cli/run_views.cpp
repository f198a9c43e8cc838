#include "run_views.h"

#include <algorithm>
#include <filesystem>
#include <regex>

#include "job.h"
#include "memory_plan.h"
#include "node_memory.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"
#include "plan.h"

namespace orrery::cli {

report::RunRecord read_run(const std::string& path) {
  report::RunReader reader(path);
  return reader.update();
}

report::PlanFacts plan_facts(const std::string& run_directory, int n_workers) {
  report::PlanFacts facts;
  const std::filesystem::path config = std::filesystem::path(run_directory) / "config.cfg";
  try {
    if (!base::exists(config)) {
      facts.problem = "there is no config.cfg";
      return facts;
    }
    const Job job = prepare_job(config.string(), {}, n_workers, DataCheck::kLeaveOut);
    facts.text = plan_text(job, memory_of_this_machine());
    const auto& levels = job.graph.levels();
    for (int index = 0; index < job.graph.size(); ++index) {
      const graph::Call& call = job.graph.call(index);
      const auto level = std::find_if(levels.begin(), levels.end(), [&](const auto& calls) {
        return std::find(calls.begin(), calls.end(), index) != calls.end();
      });
      facts.calls.push_back({.name = call.name,
                             .kind = std::string(graph::name_of(call.kind)),
                             .interface = call.interface,
                             .role = call.role,
                             .layout = call.layout.text(),
                             .level = static_cast<int>(level - levels.begin()),
                             .n_seqs = call.n_seqs,
                             .runs_per_step = job.graph.calls_per_step(index)});
    }
    for (const graph::Edge& edge : job.graph.edges()) {
      facts.edges.push_back({job.graph.call(edge.producer).name, job.graph.call(edge.consumer).name,
                             base::join(edge.keys, ", ")});
    }
    for (const WorkerMemory& worker : plan_memory(job)) {
      facts.workers.push_back({base::join(worker.replicas, ", "), worker.parameter_bytes,
                               worker.training_bytes, worker.generation_bytes});
    }
  } catch (const Error& error) {
    facts = {};
    facts.problem = error.what();
  }
  return facts;
}

std::vector<std::string> important_metrics(const report::RunRecord& run, size_t most) {
  static const char* const kWanted[] = {
      "eval/accuracy",   "eval/[^/]+/accuracy", "eval/preference_accuracy",
      "eval/loss",       "[^/]+/task_reward",   "[^/]*reward[^/]*/reward",
      "[^/]+/accuracy",  "[^/]+/loss",          "[^/]+/entropy",
      "[^/]+/approx_kl", "[^/]+/grad_norm",     "[^/]+/response_length"};
  std::vector<std::string> chosen;
  for (const char* wanted : kWanted) {
    const std::regex pattern(wanted);
    for (const auto& [name, curve] : run.curves) {
      if (std::regex_match(name, pattern) && chosen.size() < most &&
          std::find(chosen.begin(), chosen.end(), name) == chosen.end()) {
        chosen.push_back(name);
      }
    }
  }
  for (const auto& [name, curve] : run.curves) {  // another kind of run: what there is
    if (chosen.empty()) chosen.push_back(name);
  }
  return chosen;
}

}  // namespace orrery::cli
