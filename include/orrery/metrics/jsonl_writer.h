// The run's numbers for programs: metrics.jsonl, one JSON object a line. Rank 0 only; one thread.
// Line: {"step":12,"time_s":3.4,"call":"actor_train","metrics":{"loss":1.25}}
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>

#include "orrery/metrics/metric_sink.h"

namespace orrery::base {
class AppendFile;
}

namespace orrery::metrics {

/// One line without its newline. Numbers are the shortest text that reads back as the same double;
/// numbers that are not finite, which JSON cannot express, are null.
std::string metrics_line(const MetricsRecord& record);

/// Appends records; every line is handed to the operating system before write() returns.
class JsonlWriter final : public MetricSink {
 public:
  /// Appends to `file` or creates it. A last line without its end (a killed run) is removed.
  /// Throws Error when it cannot be opened.
  explicit JsonlWriter(const std::filesystem::path& file);
  JsonlWriter(const JsonlWriter&) = delete;
  JsonlWriter& operator=(const JsonlWriter&) = delete;
  ~JsonlWriter() override;

  /// Numbers that are not finite are written as null; the first of each name is logged as a
  /// warning. Throws Error when the line cannot be written (disk full).
  void write(const MetricsRecord& record) override;

 private:
  std::unique_ptr<base::AppendFile> file_;
  std::set<std::string> warned_;
};

/// A run killed in the middle of a write leaves a line without its end, which no reader accepts: it
/// is cut off. Nothing happens when the file does not exist. Throws OutputError when it cannot be
/// read.
void remove_torn_line(const std::filesystem::path& file);

/// Removes the records of steps after `step`, which a run resumed from that step writes again,
/// and a torn last line. Nothing happens when the file does not exist. Returns the number of lines
/// removed. Throws OutputError when it is there and cannot be read.
int64_t drop_records_after(const std::filesystem::path& file, int64_t step);

}  // namespace orrery::metrics
