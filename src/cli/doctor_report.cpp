#include "doctor_report.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <map>

#include "orrery/base/counted.h"
#include "orrery/base/text.h"

namespace orrery::cli {

namespace {

constexpr int64_t kMiB = 1 << 20;

template <size_t n>
std::string text_of(const std::array<char, n>& chars) {
  return {chars.data(), std::find(chars.begin(), chars.end(), '\0')};
}

std::string limit_text(int64_t limit) { return limit < 0 ? "no limit" : std::to_string(limit); }
std::string bytes_limit_text(int64_t limit) {
  return limit < 0 ? "no limit" : base::bytes_text(limit);
}

std::string time_text(double seconds) {
  char text[32];
  if (std::abs(seconds) < 1e-3) {
    std::snprintf(text, sizeof(text), "%.1f us", seconds * 1e6);
  } else if (std::abs(seconds) < 1) {
    std::snprintf(text, sizeof(text), "%.1f ms", seconds * 1e3);
  } else {
    std::snprintf(text, sizeof(text), "%.1f s", seconds);
  }
  return text;
}

/// The ranks of each node, by node.
std::map<int64_t, std::vector<const RankFacts*>> by_node(std::span<const RankFacts> ranks) {
  std::map<int64_t, std::vector<const RankFacts*>> nodes;
  for (const RankFacts& rank : ranks) nodes[rank.node].push_back(&rank);
  return nodes;
}

int64_t count(const std::array<uint64_t, kMaxCores / 64>& cores) {
  int64_t n = 0;
  for (const uint64_t word : cores) n += std::popcount(word);
  return n;
}

/// Cores that at least one of the ranks may run on.
int64_t count_together(const std::vector<const RankFacts*>& ranks) {
  std::array<uint64_t, kMaxCores / 64> all = {};
  for (const RankFacts* rank : ranks) {
    for (size_t i = 0; i < all.size(); ++i) all[i] |= rank->cores[i];
  }
  return count(all);
}

Finding judge_cores(const std::string& host, const std::vector<const RankFacts*>& ranks) {
  const auto n_ranks = static_cast<int64_t>(ranks.size());
  const int64_t cores = count_together(ranks);
  int64_t threads = 0;
  for (const RankFacts* rank : ranks) threads += rank->threads;
  Finding finding{.health = Health::kFine,
                  .what = base::concat("cores of ", host),
                  .value = base::concat(n_ranks, n_ranks == 1 ? " rank on " : " ranks on ", cores,
                                        " of ", base::counted(ranks.front()->online_cores, "core"),
                                        ", ", threads, threads == 1 ? " thread" : " threads"),
                  .advice = ""};
  if (cores < n_ranks) {
    finding.health = Health::kWarning;
    finding.advice =
        "more ranks than cores: ranks wait for one another's turn. Start fewer, bind them to more "
        "cores (mpirun --bind-to core --map-by slot), or set OMPI_MCA_mpi_yield_when_idle=1 on a "
        "small machine";
  } else if (threads > cores && n_ranks > 1) {
    finding.health = Health::kWarning;
    finding.advice = base::concat(
        "more threads than cores: set experiment.threads_per_rank or "
        "OMP_NUM_THREADS to ",
        std::max<int64_t>(cores / n_ranks, 1));
  } else if (cores * 2 < ranks.front()->online_cores && ranks.front()->online_cores > 2) {
    finding.health = Health::kWarning;
    finding.advice =
        "most cores of the machine are not used: ask for more (--cpus-per-task), or start ranks "
        "without binding (mpirun --bind-to none)";
  }
  return finding;
}

/// The workers of a node; rank 0 where it is alone there.
GpuNode gpu_node(const std::string& host, const std::vector<const RankFacts*>& ranks,
                 bool has_master) {
  GpuNode node{.host = host, .workers = {}};
  for (const RankFacts* rank : ranks) node.workers.push_back(&rank->gpus);
  if (has_master && ranks.size() > 1) node.workers.erase(node.workers.begin());
  return node;
}

Finding judge_limits(const std::string& host, const RankFacts& rank, bool has_network) {
  Finding finding{.health = Health::kFine,
                  .what = base::concat("limits of ", host),
                  .value = base::concat("open files ", limit_text(rank.open_files),
                                        ", locked memory ", bytes_limit_text(rank.locked_memory)),
                  .advice = ""};
  if (rank.open_files >= 0 && rank.open_files < 256) {
    finding.health = Health::kFailure;
    finding.advice = "a rank needs more open files: ulimit -n 4096 in the batch script";
  } else if (rank.open_files >= 0 && rank.open_files < 1024) {
    finding.health = Health::kWarning;
    finding.advice = "few open files for many ranks: ulimit -n 4096 in the batch script";
  } else if (has_network && rank.locked_memory >= 0 && rank.locked_memory < 64 * kMiB) {
    finding.health = Health::kWarning;
    finding.advice =
        "networks with RDMA need locked memory: ulimit -l unlimited (Slurm: "
        "PropagateResourceLimitsExcept=MEMLOCK and LimitMEMLOCK=infinity of slurmd)";
  }
  return finding;
}

Finding judge_memory(const std::string& host, const std::vector<const RankFacts*>& ranks) {
  const RankFacts& rank = *ranks.front();
  Finding finding{.health = Health::kFine,
                  .what = base::concat("memory of ", host),
                  .value = base::concat(
                      base::bytes_text(rank.memory_free), " free, /dev/shm ",
                      rank.shm_free < 0 ? std::string("missing") : base::bytes_text(rank.shm_free)),
                  .advice = ""};
  const auto wanted = static_cast<int64_t>(ranks.size()) * 16 * kMiB;
  if (ranks.size() > 1 && rank.shm_free < wanted) {
    finding.health = Health::kWarning;
    finding.advice = base::concat(
        "ranks of a node talk through /dev/shm and want about ", base::bytes_text(wanted),
        " there: free it, start the container with --shm-size, or choose another way "
        "(OMPI_MCA_btl=self,tcp)");
  }
  return finding;
}

}  // namespace

std::string rate_text(double bytes_per_s) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f GB/s", bytes_per_s / 1e9);
  return text;
}

std::vector<Finding> judge_ranks(std::span<const RankFacts> ranks, GpuSupport support) {
  std::vector<Finding> findings;
  const auto nodes = by_node(ranks);
  findings.push_back(
      {.health = Health::kFine,
       .what = "ranks",
       .value = base::concat(ranks.size(), ranks.size() == 1 ? " rank on " : " ranks on ",
                             nodes.size(), nodes.size() == 1 ? " node" : " nodes"),
       .advice = ""});
  if (ranks.size() == 1) {
    findings.back().advice =
        "alone, so nothing between ranks is looked at; under mpirun or srun it is";
  }
  for (size_t i = 1; i < ranks.size(); ++i) {
    if (text_of(ranks[i].versions) == text_of(ranks[0].versions)) continue;
    findings.push_back({.health = Health::kFailure,
                        .what = base::concat("versions on ", text_of(ranks[i].host)),
                        .value = text_of(ranks[i].versions),
                        .advice = base::concat("rank 0 has ", text_of(ranks[0].versions),
                                               ": all ranks must run the same build")});
    break;
  }
  std::vector<GpuNode> gpu_nodes;
  for (const auto& [node, on_node] : nodes) {
    const std::string host = text_of(on_node.front()->host);
    const bool has_master = node == ranks.front().node && ranks.size() > 1;
    findings.push_back(judge_cores(host, on_node));
    findings.push_back(judge_memory(host, on_node));
    findings.push_back(judge_limits(host, *on_node.front(), nodes.size() > 1));
    const GpuNode gpus = gpu_node(host, on_node, has_master);
    for (Finding& finding : judge_gpus(gpus, support)) findings.push_back(std::move(finding));
    // The master alone on a node needs none.
    if (!has_master || on_node.size() > 1) gpu_nodes.push_back(gpus);
    if (node == ranks.front().node) continue;
    const RankFacts& rank = *on_node.front();
    const double certain = std::max(std::abs(rank.clock_offset_s) - rank.clock_error_s, 0.0);
    findings.push_back(
        {.health = certain > 1 ? Health::kWarning : Health::kFine,
         .what = base::concat("clock of ", host),
         .value = base::concat(time_text(rank.clock_offset_s), " against rank 0 (+- ",
                               time_text(rank.clock_error_s), ")"),
         .advice = certain > 1 ? "times in logs and files of this node mislead, and a job may be "
                                 "stopped too late: start chrony or ntpd there"
                               : ""});
  }
  for (Finding& finding : judge_mixed_nodes(gpu_nodes, support)) {
    findings.push_back(std::move(finding));
  }
  return findings;
}

std::vector<Finding> judge_directory(std::span<const RankFacts> ranks,
                                     const std::string& directory) {
  std::vector<Finding> findings;
  std::vector<std::string> blind;
  for (const auto& [node, on_node] : by_node(ranks)) {
    const bool sees = std::all_of(on_node.begin(), on_node.end(),
                                  [](const RankFacts* rank) { return rank->sees_file != 0; });
    if (!sees) blind.push_back(text_of(on_node.front()->host));
  }
  findings.push_back(
      {.health = blind.empty() ? Health::kFine : Health::kFailure,
       .what = base::concat("directory ", directory),
       .value = blind.empty() ? "all ranks see the file that rank 0 wrote"
                              : base::concat("not seen on ", base::join(blind, ", ")),
       .advice = blind.empty()
                     ? ""
                     : "runs must be on a file system that all nodes share: set "
                       "experiment.output_dir to one, and give it to doctor --directory"});
  const int64_t free = ranks.front().disk_free;
  findings.push_back({.health = free < 16 * kMiB     ? Health::kFailure
                                : free < 1024 * kMiB ? Health::kWarning
                                                     : Health::kFine,
                      .what = "free space there",
                      .value = base::bytes_text(free),
                      .advice = free < 1024 * kMiB
                                    ? "checkpoints need several times the size of the model: free "
                                      "some, or lower checkpoint.keep"
                                    : ""});
  for (const auto& [node, on_node] : by_node(ranks)) {
    const RankFacts& rank = *on_node.front();
    if (rank.write_bytes_per_s <= 0) continue;
    findings.push_back({.health = rank.write_bytes_per_s < 20e6 ? Health::kWarning : Health::kFine,
                        .what = base::concat("writing there from ", text_of(rank.host)),
                        .value = base::concat(rate_text(rank.write_bytes_per_s), " with fsync"),
                        .advice = rank.write_bytes_per_s < 20e6
                                      ? "checkpoints will take long: use a faster file system"
                                      : ""});
  }
  return findings;
}

std::vector<Finding> judge_links(std::span<const Link> links, double memcpy_bytes_per_s) {
  std::vector<Finding> findings;
  findings.push_back({.health = Health::kFine,
                      .what = "memcpy, for comparison",
                      .value = rate_text(memcpy_bytes_per_s),
                      .advice = ""});
  for (const Link& link : links) {
    Finding finding{.health = Health::kFine,
                    .what = link.what,
                    .value = base::concat(time_text(link.latency_s), " a message, ",
                                          rate_text(link.bytes_per_s)),
                    .advice = ""};
    if (link.kind == LinkKind::kBetweenNodes && link.bytes_per_s < 0.2e9) {
      finding.health = Health::kWarning;
      finding.advice =
          "slower than 2 Gbit/s between nodes: MPI may have taken the wrong network. See "
          "OMPI_MCA_btl_tcp_if_include, OMPI_MCA_pml=ucx and UCX_NET_DEVICES (docs/slurm.md)";
    } else if (link.kind == LinkKind::kWithinNode && link.latency_s > 100e-6) {
      finding.health = Health::kWarning;
      finding.advice =
          "slow within a node: more ranks than cores, or shared memory is not used (see /dev/shm)";
    } else if (link.kind == LinkKind::kGpusOfNode && link.bytes_per_s < 5e9) {
      finding.health = Health::kWarning;
      finding.advice =
          "slower than PCIe: these GPUs do not reach each other directly. See nvidia-smi topo -m; "
          "NCCL_P2P_DISABLE must not be set; ACS or an IOMMU may keep them apart, in virtual "
          "machines above all";
    } else if (link.kind == LinkKind::kGpusBetweenNodes && link.bytes_per_s < 1e9) {
      finding.health = Health::kWarning;
      finding.advice =
          "slower than 10 Gbit/s between nodes: NCCL may have taken TCP. NCCL_DEBUG=INFO tells "
          "which network it takes; see NCCL_SOCKET_IFNAME and NCCL_IB_HCA (docs/slurm.md)";
    }
    findings.push_back(std::move(finding));
  }
  return findings;
}

std::string report_text(std::span<const Finding> findings) {
  size_t width = 0;
  for (const Finding& finding : findings) width = std::max(width, finding.what.size());
  std::string text;
  int n_warnings = 0;
  int n_failures = 0;
  for (const Finding& finding : findings) {
    const char* const mark = finding.health == Health::kFine      ? "ok     "
                             : finding.health == Health::kWarning ? "warning"
                                                                  : "FAILS  ";
    n_warnings += finding.health == Health::kWarning ? 1 : 0;
    n_failures += finding.health == Health::kFailure ? 1 : 0;
    text += base::concat(mark, "  ", finding.what,
                         std::string(width - finding.what.size() + 2, ' '), finding.value, "\n");
    if (!finding.advice.empty()) text += base::concat("         -> ", finding.advice, "\n");
  }
  text += n_failures > 0 ? base::concat("a job would fail: ", n_failures, " of these, ", n_warnings,
                                        " warnings\n")
          : n_warnings > 0 ? base::concat("a job would run; ", n_warnings, " warnings\n")
                           : std::string("all is well\n");
  return text;
}

int exit_code_of(std::span<const Finding> findings) {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.health == Health::kFailure; })
             ? 2
             : 0;
}

}  // namespace orrery::cli
