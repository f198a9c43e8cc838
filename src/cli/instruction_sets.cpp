#include "instruction_sets.h"

#include <algorithm>  // find
#include <map>
#include <set>
#include <string_view>

#include "gather_texts.h"
#include "orrery/base/counted.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"

namespace orrery::cli {

namespace {
constexpr std::string_view kGpu = "cuda";
}

bool compute_on_gpus(const std::vector<std::string>& sets) {
  return std::find(sets.begin(), sets.end(), kGpu) != sets.end();
}

std::vector<std::string> instruction_sets_of_workers(MPI_Comm world, const comm::NodeMap& nodes,
                                                     c10::Device device, kernels::Amx amx) {
  const std::vector<std::string> of_rank =
      gather_texts(world, std::string(device.is_cuda() ? kGpu : kernels::instruction_set(amx)));
  std::vector<std::string> sets;
  if (of_rank.empty()) return sets;
  for (const int worker_rank : nodes.rank_of_worker) {
    sets.push_back(of_rank[base::index(worker_rank)]);
  }
  return sets;
}

std::string instruction_sets_text(const std::vector<std::string>& sets) {
  std::map<std::string, int64_t> workers;
  for (const std::string& set : sets) ++workers[set];
  if (workers.size() == 1) return sets.front();
  std::vector<std::string> parts;
  for (const auto& [set, n] : workers) {
    parts.push_back(base::concat(set, " on ", base::counted(n, "worker")));
  }
  return base::join(parts, ", ");
}

std::optional<std::string> changed_instruction_sets(const std::vector<std::string>& before,
                                                    const std::vector<std::string>& now) {
  const auto kinds = [](const std::vector<std::string>& sets) {
    return std::set<std::string>(sets.begin(), sets.end());
  };
  const bool is_same = before.size() == now.size() ? before == now : kinds(before) == kinds(now);
  if (before.empty() || is_same) return std::nullopt;
  return base::concat("was computed with ", instruction_sets_text(before), ", goes on with ",
                      instruction_sets_text(now),
                      ": numbers will differ in the last bits from those of a run that was not "
                      "interrupted");
}

}  // namespace orrery::cli
