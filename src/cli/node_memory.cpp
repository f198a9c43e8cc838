#include "node_memory.h"

#include <algorithm>
#include <fstream>
#include <numeric>
#include <set>

#include "orrery/base/index.h"
#include "orrery/base/text.h"

namespace orrery::cli {

namespace {

using base::bytes_text;
using base::concat;

int64_t total_of(const WorkerMemory& worker) {
  return worker.parameter_bytes + worker.training_bytes + worker.generation_bytes;
}

/// One part of what a worker needs, and what makes it smaller.
struct Part {
  int64_t bytes = 0;
  std::string advice;
};

/// Of the largest worker, largest first.
std::vector<Part> parts_of(const Job& job, const WorkerMemory& worker) {
  std::set<std::string> lengths;
  std::set<std::string> batches;
  for (const auto& [name, call] : job.experiment.calls) {
    if (!call.enabled || call.interface != "generate") continue;
    batches.insert(concat("call.", name, ".max_batch"));
    lengths.insert(concat("call.", name, ".max_new_tokens"));
  }
  for (const int place : job.training_places()) {
    lengths.insert(concat("dataset.", job.experiment.datasets[base::index(place)].first,
                          ".max_prompt_tokens"));
  }
  const auto names = [](const std::set<std::string>& set) {
    return base::join(std::vector<std::string>(set.begin(), set.end()), ", ");
  };
  std::vector<Part> parts = {
      {worker.parameter_bytes,
       concat("parameters ", bytes_text(worker.parameter_bytes),
              ": a layout with more tensor or pipeline ranks (t, p), or roles on other workers")},
      {worker.training_bytes,
       concat("training ", bytes_text(worker.training_bytes),
              ": more tensor or pipeline ranks, or more data ranks (d), which share the "
              "optimizer's state")},
      {worker.generation_bytes,
       concat("generating ", bytes_text(worker.generation_bytes), ": lower ",
              batches.empty() ? "evaluate.max_prompts"
                              : concat(names(batches), " or set max_cache_tokens there"),
              ", then ", batches.empty() ? "evaluate.max_new_tokens" : names(lengths))}};
  std::stable_sort(parts.begin(), parts.end(),
                   [](const Part& a, const Part& b) { return a.bytes > b.bytes; });
  return parts;
}

}  // namespace

NodeMemory memory_of_this_machine() {
  NodeMemory memory{.bytes = 0, .source = "this machine's"};
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("MemTotal:")) memory.bytes = std::stoll(line.substr(9)) * 1024;
  }
  for (const char* file :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    int64_t limit = 0;
    if (!(std::ifstream(file) >> limit) || limit <= 0 || limit >= memory.bytes) continue;
    memory = {.bytes = limit, .source = "this machine's control group's"};
  }
  return memory;
}

std::string fit_text(const Job& job, const std::vector<WorkerMemory>& workers,
                     const NodeMemory& node) {
  if (workers.empty() || node.bytes <= 0) return "";
  const int64_t all =
      std::accumulate(workers.begin(), workers.end(), int64_t{0},
                      [](int64_t sum, const WorkerMemory& w) { return sum + total_of(w); });
  const auto largest =
      std::max_element(workers.begin(), workers.end(),
                       [](const auto& a, const auto& b) { return total_of(a) < total_of(b); });
  std::string text =
      concat("all workers ", bytes_text(all), ", the largest ", bytes_text(total_of(*largest)),
             "; a node has ", bytes_text(node.bytes), " (", node.source, ")");
  if (all <= node.bytes) return text + ": they fit on one node\n";
  const int64_t n_fit = node.bytes / std::max<int64_t>(total_of(*largest), 1);
  if (n_fit > 0) {
    return concat(text, ": they do not fit on one node; start at most ", n_fit,
                  n_fit == 1 ? " worker" : " workers", " on a node (mpirun --map-by ppr:", n_fit,
                  ":node, or Slurm's --ntasks-per-node)\n");
  }
  text += concat(": worker ", largest - workers.begin(), " does not fit\n");
  for (const Part& part : parts_of(job, *largest)) {
    if (part.bytes > 0) text += concat("  ", part.advice, "\n");
  }
  return text;
}

}  // namespace orrery::cli
