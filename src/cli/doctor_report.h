// What `orrery doctor` makes of what it found: pure functions from measurements to lines of a table
// with what to do, so that every warning has a test.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "doctor_gpu_report.h"

namespace orrery::cli {

inline constexpr int kMaxCores = 1024;

/// What one rank says of itself. Plain bytes: it travels by MPI_Gather.
struct RankFacts {
  std::array<char, 64> host = {};
  std::array<char, 192> versions = {};              ///< must be the same on all ranks
  std::array<uint64_t, kMaxCores / 64> cores = {};  ///< that the rank may run on, one bit each
  int64_t online_cores = 0;                         ///< of the machine
  int64_t threads = 0;                              ///< that LibTorch would use
  GpuFacts gpus;
  int64_t open_files = 0;        ///< limit; -1: none
  int64_t locked_memory = 0;     ///< limit in bytes; -1: none
  int64_t shm_free = 0;          ///< bytes in /dev/shm; -1: there is none
  int64_t memory_free = 0;       ///< bytes of the machine
  int64_t sees_file = 1;         ///< the file that rank 0 wrote; 0: it does not
  int64_t disk_free = 0;         ///< bytes in the run directory
  double write_bytes_per_s = 0;  ///< to the run directory, with fsync; 0: not measured here
  double clock_offset_s = 0;     ///< against rank 0
  double clock_error_s = 0;      ///< half a round trip
  int64_t node = 0;
};

enum class LinkKind { kWithinNode, kBetweenNodes, kGpusOfNode, kGpusBetweenNodes, kAllGpus };

/// Between rank 0 and another or two GPUs, or a collective over the GPUs of all workers.
struct Link {
  std::string what;
  double latency_s = 0;  ///< of 8 bytes, one way or one collective
  double bytes_per_s = 0;
  LinkKind kind = LinkKind::kWithinNode;
};

std::vector<Finding> judge_ranks(std::span<const RankFacts> ranks, GpuSupport support);
std::vector<Finding> judge_directory(std::span<const RankFacts> ranks,
                                     const std::string& directory);
std::vector<Finding> judge_links(std::span<const Link> links, double memcpy_bytes_per_s);

/// The table, then what to do, then one sentence.
std::string report_text(std::span<const Finding> findings);

/// 0 fine or warnings only, 2 a job would fail.
int exit_code_of(std::span<const Finding> findings);

}  // namespace orrery::cli
