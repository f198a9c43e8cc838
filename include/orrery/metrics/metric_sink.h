// Where a run's numbers go. metrics.jsonl and TensorBoard are two; what other systems want is read
// from metrics.jsonl (tools/track.py), so that a run depends on none of them. Rank 0; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace orrery::metrics {

struct MetricsRecord {
  int64_t step = 0;                      ///< 1-based; 0 = before training
  double time_s = 0;                     ///< since the start of the run
  std::optional<std::string> call = {};  ///< nothing: a number of the whole step, or an evaluation
  std::map<std::string, double> metrics = {};
};

class MetricSink {
 public:
  virtual ~MetricSink() = default;

  /// Takes in a record: it is with the operating system, or whatever stands for it, before this
  /// returns. Throws Error when it cannot be kept.
  virtual void write(const MetricsRecord& record) = 0;
};

}  // namespace orrery::metrics
