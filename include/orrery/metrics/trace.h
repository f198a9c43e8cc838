// Timelines for https://ui.perfetto.dev or chrome://tracing: who did what when. One process per
// worker, one track per thread; a span for every call, hook and transfer.
//
// The file is a JSON array of events written one per line and never closed: both viewers accept an
// array without its end, so the file can be opened at any time, also after the job was killed.
// Times are wall-clock microseconds, so the files of several workers can be laid side by side.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace orrery::base {
class AppendFile;
}

namespace orrery::metrics {

/// Further facts of a span, shown by the viewer: {"step", "12"}.
using TraceArguments = std::vector<std::pair<std::string, std::string>>;

/// A span of time.
struct TraceEvent {
  std::string name = {};      ///< `actor_gen`, `param_realloc`
  std::string category = {};  ///< `call`, `hook`, `transfer`, `judge`: the viewer filters by it
  int64_t start_us = 0;       ///< since 1970
  int64_t duration_us = 0;
  TraceArguments arguments = {};
  std::string track = {};  ///< of its own; empty: the current thread's
};

/// Thread-safe. A file that cannot be written ends the tracing with one warning, not the job.
class TraceWriter {
 public:
  /// `process` is the worker's number (the master uses -1); `process_name` its title.
  TraceWriter(const std::filesystem::path& file, int process, std::string_view process_name);
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;
  ~TraceWriter();

  void write(const TraceEvent& event);
  /// A value over time, drawn as a curve.
  void counter(std::string_view name, double value);

  static int64_t now_us();

 private:
  void write_line(const std::string& line);
  int track_of_this_thread();
  int track_named(const std::string& name);

  std::mutex mutex_;
  int process_;
  std::unique_ptr<base::AppendFile> file_;  ///< null after a failure
  std::map<std::thread::id, int> tracks_;
  std::map<std::string, int> named_tracks_;
};

/// Writes the time between its construction and destruction; does nothing without a writer.
class TraceSpan {
 public:
  TraceSpan(TraceWriter* writer, std::string_view category, std::string_view name,
            TraceArguments arguments = {});
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;
  ~TraceSpan();

 private:
  TraceWriter* writer_;
  TraceEvent event_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace orrery::metrics
