#include "instruction_sets.h"

#include <algorithm>  // copy_n, min
#include <array>
#include <map>
#include <set>
#include <string_view>

#include "orrery/base/counted.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/comm/mpi_handle.h"  // ORRERY_MPI

namespace orrery::cli {

std::vector<std::string> instruction_sets_of_workers(MPI_Comm world, const comm::NodeMap& nodes,
                                                     kernels::Amx amx) {
  using Name = std::array<char, 16>;  // ended by a zero
  Name own{};
  const std::string_view name = kernels::instruction_set(amx);
  std::copy_n(name.data(), std::min(name.size(), own.size() - 1), own.data());
  int rank = 0;
  ORRERY_MPI(MPI_Comm_rank(world, &rank));
  std::vector<Name> of_rank(rank == 0 ? nodes.worker_of_rank.size() : 0);
  ORRERY_MPI(MPI_Gather(own.data(), sizeof(Name), MPI_CHAR, of_rank.data(), sizeof(Name), MPI_CHAR,
                        0, world));
  std::vector<std::string> sets;
  if (rank != 0) return sets;
  for (const int worker_rank : nodes.rank_of_worker) {
    sets.emplace_back(of_rank[base::index(worker_rank)].data());
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
