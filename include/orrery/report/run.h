// A run directory as people look at it: metrics by name, configuration, warnings of the log.
// Reading never stops at what is damaged: it is left out and named. Local; an object belongs to one
// thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::report {

/// One metric over the steps, ascending; NaN where metrics.jsonl has null.
struct Curve {
  std::vector<int64_t> steps;
  std::vector<double> values;

  /// Puts a value at its step. A step that is there already (written again) gets the new value.
  void put(int64_t step, double value);
};

struct ConfigValue {
  std::string section, key, value;
};

/// A warning or an error of log.txt, each text once.
struct LogLine {
  std::string time;   ///< of the first one, as the log writes it
  std::string level;  ///< `warning` or `error`
  std::string text;
  int64_t count = 1;
};

enum class RunState {
  kGoingOn,  ///< a process holds the directory
  kEnded,    ///< the log's last words are an exit code
  kUnknown,  ///< neither: killed, or written by another machine whose locks are not seen here
};

struct RunRecord {
  std::filesystem::path root;  ///< or of the one file metrics.jsonl
  std::string name;            ///< the folder's
  std::map<std::string, Curve> curves;
  std::map<int64_t, double> time_of_step;  ///< seconds since the run began, of its last line
  std::vector<ConfigValue> config;         ///< of config.cfg, in its order
  std::vector<LogLine> log;
  RunState state = RunState::kUnknown;
  std::string ending;                 ///< `exit code 0 (done)`, where the log has it
  std::vector<std::string> problems;  ///< `metrics.jsonl:12: not JSON: ...`; the first of them
  int64_t n_problems = 0;             ///< all of them
  bool has_metrics() const { return !curves.empty(); }

  void add_problem(std::string text);
};

/// Adds one line of metrics.jsonl. Returns what is wrong with it, or nothing.
std::string add_metrics_line(RunRecord& run, std::string_view line);

/// Adds the warnings and errors of a log.txt and what it says of the run's end.
void add_log(RunRecord& run, std::string_view text);

/// Follows a run: every update reads on where the last one ended.
class RunReader {
 public:
  /// `path`: a run directory, or a metrics.jsonl alone. Throws ConfigError when it is neither.
  explicit RunReader(const std::filesystem::path& path);

  /// What is there by now. A last line without its end is still being written and waits for the
  /// next update. Throws OutputError when a file is there and cannot be read.
  const RunRecord& update();

 private:
  void read_metrics();
  void read_config();
  void read_log();

  std::filesystem::path metrics_;
  bool is_directory_ = false;
  RunRecord run_;
  uint64_t offset_ = 0;  ///< of metrics.jsonl
  uint64_t inode_ = 0;
  int64_t n_lines_ = 0;
};

}  // namespace orrery::report
