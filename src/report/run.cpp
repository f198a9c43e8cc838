#include "orrery/report/run.h"

#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/index.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"
#include "orrery/config/document.h"

namespace orrery::report {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMostProblems = 50;
constexpr size_t kMostLogTexts = 500;

/// Whether another process holds the directory. It is only looked at: no lock is kept.
bool is_held(const fs::path& root) {
  const base::PosixFile lock = base::PosixFile::open_to_read(root / ".lock");
  return lock && ::flock(lock.descriptor(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

/// `2026-01-02T03:04:05.678 warning text`, or nothing.
std::optional<LogLine> parse_log_line(std::string_view line) {
  const size_t time_end = line.find(' ');
  if (time_end == std::string_view::npos || time_end < 19 || line[4] != '-') return std::nullopt;
  const size_t level_end = line.find(' ', time_end + 1);
  if (level_end == std::string_view::npos) return std::nullopt;
  return LogLine{.time = std::string(line.substr(0, time_end)),
                 .level = std::string(line.substr(time_end + 1, level_end - time_end - 1)),
                 .text = std::string(line.substr(level_end + 1))};
}

}  // namespace

void Curve::put(int64_t step, double value) {
  if (steps.empty() || steps.back() < step) {
    steps.push_back(step);
    values.push_back(value);
    return;
  }
  const auto place = std::lower_bound(steps.begin(), steps.end(), step);
  const auto index = place - steps.begin();
  if (*place == step) {
    values[base::index(index)] = value;
    return;
  }
  steps.insert(place, step);
  values.insert(values.begin() + index, value);
}

void RunRecord::add_problem(std::string text) {
  ++n_problems;
  if (problems.size() < kMostProblems) problems.push_back(std::move(text));
}

std::string add_metrics_line(RunRecord& run, std::string_view line) {
  const auto parsed = base::parse_json(line);
  if (!parsed.problem.empty()) return parsed.problem;
  const nlohmann::json& record = parsed.value;
  if (!record.is_object() || !record.contains("step") || !record["step"].is_number_integer() ||
      !record.contains("metrics") || !record["metrics"].is_object()) {
    return "not {\"step\": ..., \"metrics\": {...}}";
  }
  const auto step = record["step"].get<int64_t>();
  if (const auto time = record.find("time_s"); time != record.end() && time->is_number()) {
    run.time_of_step[step] = time->get<double>();
  }
  std::string problem;
  for (const auto& [name, value] : record["metrics"].items()) {
    if (value.is_number()) {
      run.curves[name].put(step, value.get<double>());
    } else if (value.is_null()) {
      run.curves[name].put(step, std::numeric_limits<double>::quiet_NaN());
    } else {
      problem = base::concat("metric ", name, " is neither a number nor null");
    }
  }
  return problem;
}

void add_log(RunRecord& run, std::string_view text) {
  std::map<std::string, size_t> places;
  run.log.clear();
  run.ending.clear();
  LogLine* open = nullptr;  // of which further lines without a time are parts
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.starts_with("exit code ")) run.ending = line;  // the last line of an error's text
    std::optional<LogLine> parsed = parse_log_line(line);
    if (!parsed) {
      if (open != nullptr && open->count == 1 && open->text.size() < 4000) {
        open->text += base::concat("\n", line);
      }
      continue;
    }
    open = nullptr;
    if (parsed->text.starts_with("exit code ")) {
      run.ending = parsed->text;
      continue;
    }
    run.ending.clear();  // the run went on
    if (parsed->level != "warning" && parsed->level != "error") continue;
    const auto [place, is_new] = places.emplace(parsed->level + parsed->text, run.log.size());
    if (!is_new) {
      if (place->second < run.log.size()) ++run.log[place->second].count;
    } else if (run.log.size() < kMostLogTexts) {
      open = &run.log.emplace_back(std::move(*parsed));
    }
  }
}

RunReader::RunReader(const fs::path& path) {
  if (!base::exists(path)) {
    throw ConfigError(base::concat(path.string(), " does not exist"),
                      {.expected = "a run directory, such as runs/grpo_tiny",
                       .got = "no such file or directory",
                       .advice = "check the path"});
  }
  is_directory_ = base::is_folder(path);
  run_.root = path;
  metrics_ = is_directory_ ? path / "metrics.jsonl" : path;
  if (is_directory_ && !base::exists(metrics_) && !base::exists(path / "config.cfg")) {
    throw ConfigError(base::concat(path.string(), " is no run directory"),
                      {.expected = "config.cfg and metrics.jsonl in it",
                       .got = "neither",
                       .advice = "name the directory that `orrery train` wrote, runs/NAME"});
  }
  if (!is_directory_ && path.extension() != ".jsonl") {
    throw ConfigError(base::concat(path.string(), " is neither a run directory nor metrics.jsonl"),
                      {.expected = "a run directory, such as runs/grpo_tiny",
                       .got = "another file",
                       .advice = "name the directory that `orrery train` wrote"});
  }
  const fs::path whole = fs::absolute(path).lexically_normal();
  run_.name = (is_directory_ && whole.has_filename() ? whole : whole.parent_path()).filename();
}

const RunRecord& RunReader::update() {
  if (is_directory_) {
    run_.state = is_held(run_.root) ? RunState::kGoingOn : RunState::kUnknown;
    read_config();
    read_log();
  }
  if (base::exists(metrics_)) read_metrics();
  return run_;
}

void RunReader::read_metrics() {
  struct stat there {};
  if (::stat(metrics_.c_str(), &there) != 0) return;
  const auto size = static_cast<uint64_t>(there.st_size);
  if (there.st_ino != inode_ || size < offset_) {  // a resumed run cut it back
    run_.curves.clear();
    run_.time_of_step.clear();
    run_.problems.clear();
    run_.n_problems = n_lines_ = 0;
    offset_ = 0;
    inode_ = there.st_ino;
  }
  std::ifstream in(metrics_, std::ios::binary);
  if (!in.seekg(static_cast<std::streamoff>(offset_))) {
    throw OutputError(base::concat(metrics_.string(), ": cannot be read"));
  }
  for (std::string line; std::getline(in, line) && !in.eof();) {
    offset_ += line.size() + 1;
    ++n_lines_;
    if (line.empty()) continue;
    const std::string problem = add_metrics_line(run_, line);
    if (!problem.empty()) {
      run_.add_problem(base::concat(metrics_.filename().string(), ":", n_lines_, ": ", problem,
                                    "; the line is left out"));
    }
  }
}

void RunReader::read_config() {
  if (!run_.config.empty()) return;
  const fs::path file = run_.root / "config.cfg";
  if (!base::exists(file)) return;
  std::vector<config::Problem> problems;
  const config::Document document = config::read_document(file, problems);
  for (const config::Problem& problem : problems) run_.add_problem(problem.message());
  for (const config::Entry& entry : document.entries) {
    run_.config.push_back({entry.section, entry.key, entry.value});
  }
}

void RunReader::read_log() {
  const fs::path file = run_.root / "log.txt";
  if (!base::exists(file)) return;
  add_log(run_, base::read_file(file));
  if (run_.state != RunState::kGoingOn && !run_.ending.empty()) run_.state = RunState::kEnded;
}

}  // namespace orrery::report
