// What the master can say about a step when it is over: statistics, times, operations and bytes of
// every call, merged over workers. Plain values; who writes them where is not decided here.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "orrery/comm/message.h"             // Reply, StepInfo
#include "orrery/master/dynamic_sampling.h"  // SampledStep
#include "orrery/master/master_state.h"
#include "orrery/master/step_clock.h"
#include "orrery/metrics/flops.h"
#include "orrery/metrics/statistics.h"

namespace orrery::master {

/// Seconds of one phase or hook of a call in a step: the slowest worker and the mean of those that
/// did it.
struct PhaseTime {
  std::string name;  ///< `pre/data_transfer`, `main`, ...
  double max = 0;
  double mean = 0;
};

/// Adds up time records by name and worker. Main thread of the master.
class PhaseTimes {
 public:
  void add(int worker, const std::vector<comm::TimeRecord>& times, int n_workers);
  /// In order of first appearance.
  std::vector<PhaseTime> summary() const;
  void clear() { columns_.clear(); }

 private:
  struct Column {
    std::string name;
    std::vector<double> seconds;  // by worker; negative: it has none
  };
  std::vector<Column> columns_;
};

/// The largest numbers of a worker's GPU in a phase or hook of a call in a step.
struct CallMemory {
  int worker = 0;
  comm::MemoryRecord memory;
};

/// Keeps the largest by name and worker.
void add_memory(std::vector<CallMemory>& known, int worker,
                const std::vector<comm::MemoryRecord>& records);

struct CallReport {
  std::string call;
  int runs = 0;
  /// Of each run one after the other: one record a minibatch, merged over data ranks.
  std::vector<metrics::Statistics> minibatches;
  std::vector<PhaseTime> times;
  std::vector<CallMemory> memory;  ///< empty on CPUs
  metrics::Flops flops = 0;
  int64_t bytes_redistributed = 0;
  double seconds = 0;  ///< from dispatch to the last head's reply, added up over runs
};

struct StepReport {
  comm::StepInfo step;
  double seconds = 0;         ///< from its first request to its last reply
  double master_seconds = 0;  ///< of these the master worked; filled in by the step loop
  int64_t samples = 0;
  std::vector<CallReport> calls;  ///< in graph order
  /// What dynamic sampling came to; groups are numbers of this part of the run.
  std::optional<SampledStep> sampled = {};

  metrics::Flops flops() const;
  int64_t bytes_redistributed() const;
};

struct EvaluationReport {
  int64_t step = 0;  ///< after this step; 0: before training
  std::string call;
  std::string set;                 ///< empty: the only one
  metrics::Statistics statistics;  ///< under their names in metrics.jsonl
  double seconds = 0;       ///< from its request to its last reply, the sets before it included
  double work_seconds = 0;  ///< that the slowest data rank worked on it
};

enum class SaveKind {
  kExport,
  kBest,  ///< an export that is whole, reported before, has become the best one
  kCheckpoint
};

struct SaveReport {
  SaveKind kind = SaveKind::kExport;
  int64_t step = 0;
  std::string directory;                 ///< kBest: of the exports of the step
  std::vector<comm::Reply> replies;      ///< kExport: of all workers that wrote, by worker
  std::vector<comm::SavedShard> shards;  ///< kCheckpoint: by worker
  MasterState state;                     ///< kCheckpoint, kBest: of the master, as of `step`
  double seconds = 0;
};

struct FinishReport {
  StopReason reason = StopReason::kSteps;
  int64_t steps_done = 0;
};

using Report = std::variant<StepReport, EvaluationReport, SaveReport, FinishReport>;

/// Of all minibatches of a call.
metrics::Statistics merged_statistics(const CallReport& report);

/// The numbers of a call's report, all minibatches merged, by name: `actor_train/loss`,
/// `time/actor_train/main/max`, `actor_train/tflops_per_second`, ...
std::map<std::string, double> numbers_of(const CallReport& report);

/// The numbers of a step as a whole: `time/step`, `time/master_share`, `flops/step`, ...
std::map<std::string, double> numbers_of(const StepReport& report);

}  // namespace orrery::master
