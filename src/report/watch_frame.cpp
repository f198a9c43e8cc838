#include "orrery/report/watch_frame.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>

#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"
#include "orrery/report/plot.h"

namespace orrery::report {

namespace {

constexpr size_t kRecentSteps = 20;

std::string seconds_text(double seconds) {
  return seconds < 1 ? base::concat(short_number(1000 * seconds), " ms")
                     : base::duration_text(std::chrono::duration<double>(seconds));
}

/// Mean of the last finite values.
double recent_mean(const Curve& curve, size_t n) {
  double sum = 0;
  size_t count = 0;
  for (size_t i = curve.values.size(); i-- > 0 && count < n;) {
    if (!std::isfinite(curve.values[i])) continue;
    sum += curve.values[i];
    ++count;
  }
  return count > 0 ? sum / static_cast<double>(count) : 0;
}

std::string config_value(const RunRecord& run, std::string_view section, std::string_view key) {
  for (const ConfigValue& value : run.config) {
    if (value.section == section && value.key == key) return value.value;
  }
  return {};
}

std::string head_text(const RunRecord& run) {
  std::string text = base::concat(terminal_text(run.name, 60), ": ");
  switch (run.state) {
    case RunState::kGoingOn:
      text += "goes on";
      break;
    case RunState::kEnded:
      text += run.ending;
      break;
    case RunState::kUnknown:
      text += "nobody holds it and its log has no ending";
      break;
  }
  if (!run.time_of_step.empty()) {
    const auto& [step, seconds] = *run.time_of_step.rbegin();
    const std::string total = config_value(run, "experiment", "total_steps");
    text += base::concat(", step ", step, total.empty() || total == "0" ? "" : " of " + total, ", ",
                         seconds_text(seconds));
  }
  text += "\n";
  int64_t warnings = 0, errors = 0;
  for (const LogLine& line : run.log) (line.level == "error" ? errors : warnings) += line.count;
  if (warnings + errors > 0) {
    const LogLine& last = run.log.back();
    text += base::concat(warnings, " warnings, ", errors,
                         " errors in its log; the newest: ", terminal_text(last.text, 100), "\n");
  }
  if (run.n_problems > 0) {
    text += base::concat(run.n_problems, " damaged lines left out; the first: ",
                         terminal_text(run.problems.front(), 100), "\n");
  }
  return text;
}

/// Columns of a line, where each character is one wide.
size_t width_of(std::string_view line) {
  size_t width = 0;
  for (const char c : line) width += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  return width;
}

/// Two blocks of lines beside each other.
std::string beside(const std::string& left, const std::string& right, size_t width) {
  const auto a = base::split(left, '\n');
  const auto b = base::split(right, '\n');
  std::string text;
  for (size_t i = 0; i + 1 < std::max(a.size(), b.size()); ++i) {
    const std::string line = i + 1 < a.size() ? a[i] : "";
    text += line;
    if (i + 1 < b.size()) {
      text += std::string(width > width_of(line) ? width - width_of(line) : 1, ' ') + b[i];
    }
    text += "\n";
  }
  return text;
}

std::string plots_text(const RunRecord& run, const WatchOptions& options) {
  const bool in_pairs = options.columns >= 120;
  const int columns = in_pairs ? options.columns / 2 - 1 : options.columns;
  std::string text, waiting;
  for (const std::string& name : options.metrics) {
    const auto curve = run.curves.find(name);
    if (curve == run.curves.end()) continue;
    const std::string plot = terminal_plot({.title = name, .series = {{"", curve->second}}},
                                           {.columns = columns, .rows = options.plot_rows});
    if (!in_pairs) {
      text += plot;
    } else if (waiting.empty()) {
      waiting = plot;
    } else {
      text += beside(waiting, plot, static_cast<size_t>(columns) + 2);
      waiting.clear();
    }
  }
  return text + waiting;
}

/// A row for each call: its share of the steps of late as a bar.
std::string times_text(const RunRecord& run) {
  const auto step = run.curves.find("time/step");
  if (step == run.curves.end()) return {};
  const double whole = recent_mean(step->second, kRecentSteps);
  std::string text = base::concat("time of a step: ", seconds_text(whole), ", mean of the last ",
                                  std::min(kRecentSteps, step->second.steps.size()), "\n");
  for (const auto& [name, curve] : run.curves) {
    if (!name.starts_with("time/") || !name.ends_with("/total")) continue;
    const std::string call = name.substr(5, name.size() - 11);
    const double seconds = recent_mean(curve, kRecentSteps);
    char line[160];
    std::snprintf(line, sizeof(line), "  %-18.18s %9s %3.0f %% ", call.c_str(),
                  seconds_text(seconds).c_str(), whole > 0 ? 100 * seconds / whole : 0);
    text += base::concat(line, bar_text(whole > 0 ? seconds / whole : 0, 30), "\n");
  }
  return text;
}

std::string workers_text(const RunRecord& run, const std::vector<WorkerTimes>& workers) {
  const auto step = run.curves.find("time/step");
  if (workers.empty() || step == run.curves.end()) return {};
  std::map<int64_t, double> length;
  for (size_t i = 0; i < step->second.steps.size(); ++i) {
    length[step->second.steps[i]] = step->second.values[i];
  }
  constexpr size_t kMost = 8;
  std::string text = "workers, busy share of the last steps\n";
  for (size_t w = 0; w < workers.size() && w < kMost; ++w) {
    const Curve& busy = workers[w].busy_seconds;
    double seconds = 0, whole = 0;
    size_t n = 0;
    for (size_t i = busy.steps.size(); i-- > 0 && n < kRecentSteps;) {
      const auto found = length.find(busy.steps[i]);
      if (found == length.end()) continue;
      seconds += busy.values[i];
      whole += found->second;
      ++n;
    }
    const double share = whole > 0 ? std::min(1.0, seconds / whole) : 0;
    char line[160];
    std::snprintf(line, sizeof(line), "  %-28.28s %3.0f %% ",
                  terminal_text(workers[w].name, 28).c_str(), 100 * share);
    text += base::concat(line, bar_text(share, 30));
    if (!workers[w].resident_bytes.values.empty()) {
      text += " " + base::bytes_text(static_cast<int64_t>(workers[w].resident_bytes.values.back()));
    }
    text += "\n";
  }
  if (workers.size() > kMost) text += base::concat("  and ", workers.size() - kMost, " more\n");
  return text;
}

std::string samples_text(const std::vector<Sample>& latest, int columns) {
  if (latest.empty()) return {};
  const auto room = static_cast<size_t>(std::max(20, columns - 12));
  std::string text = base::concat("latest answers, step ", latest.back().step, "\n");
  for (const Sample& sample : latest) {
    const std::string reward =
        sample.failed.empty() && sample.reward ? short_number(*sample.reward) : "none";
    text += base::concat("  prompt    ", terminal_text(sample.prompt, room), "\n  answer    ",
                         terminal_text(sample.response, room), "\n  reward    ", reward);
    if (!sample.answer.empty()) {
      text += base::concat(", reference ", terminal_text(sample.answer, room / 2));
    }
    text += "\n";
  }
  return text;
}

}  // namespace

std::string watch_frame(const RunRecord& run, const std::vector<WorkerTimes>& workers,
                        const std::vector<Sample>& latest, const WatchOptions& options) {
  std::string text = head_text(run);
  if (!run.has_metrics()) text += "no metrics yet\n";
  for (const std::string& part :
       {plots_text(run, options), times_text(run), workers_text(run, workers),
        samples_text(latest, options.columns)}) {
    if (!part.empty()) text += "\n" + part;
  }
  return text;
}

std::vector<Sample> latest_samples(const std::filesystem::path& run, size_t n) {
  std::vector<std::filesystem::path> files;
  for (const auto& file : base::list_folder(run / "samples")) {
    if (file.extension() == ".jsonl" && file.filename().string().starts_with("step-")) {
      files.push_back(file);
    }
  }
  std::vector<Sample> samples;
  if (files.empty()) return samples;
  std::ifstream in(files.back(), std::ios::binary);
  if (!in) throw OutputError(base::concat(files.back().string(), ": cannot be read"));
  for (std::string line; std::getline(in, line) && !in.eof();) {
    std::string problem;
    if (auto sample = parse_sample(line, problem)) samples.push_back(std::move(*sample));
    if (samples.size() > n) samples.erase(samples.begin());
  }
  return samples;
}

}  // namespace orrery::report
