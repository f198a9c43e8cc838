#include "orrery/metrics/progress.h"

#include <algorithm>  // max
#include <cmath>
#include <cstdio>
#include <utility>

#include "orrery/base/terminal.h"
#include "orrery/base/text.h"  // duration_text

namespace orrery::metrics {

namespace {

constexpr int kRecordColumns = 80;  // where no terminal says how wide it is

/// Three significant digits without trailing zeros: 1.23, 0.5, 1.2e-05, nan.
std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

/// 950, 1.2k, 3.4M, 5.6G.
std::string count_text(double value) {
  const char* suffixes[] = {"", "k", "M", "G", "T"};
  size_t at = 0;
  while (std::abs(value) >= 999.5 && at < 4) {
    value /= 1000;
    ++at;
  }
  char text[32];
  std::snprintf(text, sizeof text, std::abs(value) < 9.95 ? "%.1f%s" : "%.0f%s", value,
                suffixes[at]);
  return text;
}

std::string named(const std::pair<std::string, double>& value) {
  return " " + value.first + " " + number_text(value.second);
}

}  // namespace

ProgressStyle detect_progress_style() {
  return base::is_seen_on_terminal() ? ProgressStyle::kTerminal : ProgressStyle::kPlain;
}

Progress::Progress(const ProgressOptions& options, std::ostream& out, Clock clock)
    : options_(options),
      out_(out),
      clock_(std::move(clock)),
      remaining_(options.limits, clock_()) {}

Progress::~Progress() { end_line(); }

void Progress::end_line() {
  if (shown_.empty()) return;
  out_ << '\n' << std::flush;
  shown_.clear();
}

void Progress::step_done(const StepProgress& step) {
  const std::chrono::steady_clock::time_point now = clock_();
  remaining_.step_done(step.step, now, RemainingTime::Seconds(step.seconds));
  const std::string text = line(step, kRecordColumns);
  const bool is_last = step.step == options_.limits.total_steps;
  if (is_last || !last_plain_ || now - *last_plain_ >= options_.plain_interval) {
    last_plain_ = now;
    write_plain(text);
    waiting_.clear();
  } else {
    waiting_ = text;
  }
  if (options_.style == ProgressStyle::kTerminal) show(line(step, options_.columns()));
}

void Progress::write_plain(const std::string& text) {
  if (options_.record) options_.record(text);
  if (options_.style == ProgressStyle::kPlain) out_ << text + "\n" << std::flush;
}

/// In one piece: other processes write to the same terminal.
void Progress::show(const std::string& text) {
  shown_ = text;
  out_ << "\r" + shown_ + "\x1b[K" << std::flush;  // erases what a longer line left behind
}

void Progress::message(std::string_view text) {
  if (options_.record) options_.record(text);
  if (shown_.empty()) {
    out_ << std::string(text) + "\n" << std::flush;
    return;
  }
  out_ << "\r\x1b[K" + std::string(text) + "\n" + shown_ << std::flush;
}

void Progress::finish() {
  if (!waiting_.empty()) write_plain(std::exchange(waiting_, {}));
  end_line();
}

std::string Progress::line(const StepProgress& step, int columns) const {
  const auto room = static_cast<size_t>(std::max(columns - 1, 1));
  std::string text = options_.unit + " " + std::to_string(step.step);
  if (options_.limits.total_steps > 0) text += "/" + std::to_string(options_.limits.total_steps);

  std::string rate;
  if (step.seconds > 0) rate += " " + count_text(step.tokens / step.seconds) + " tokens/s";
  if (const auto left = remaining_.remaining(clock_())) {
    rate += " " + base::duration_text(*left) + " left";
  }
  for (const auto& value : step.values) {
    const std::string shown = named(value);
    if (text.size() + shown.size() + rate.size() > room) break;
    text += shown;
  }
  text += rate;

  std::vector<std::string> details;
  for (const auto& value : step.details) details.push_back(named(value));
  if (step.seconds > 0) {
    const std::chrono::duration<double> seconds(step.seconds);
    details.push_back(" " + base::duration_text(seconds) + " a " + options_.unit);
  }
  if (step.epoch >= 0) {
    details.push_back(" epoch " + std::to_string(step.epoch));
    if (options_.total_epochs > 0) details.back() += "/" + std::to_string(options_.total_epochs);
  }
  for (const std::string& detail : details) {
    if (text.size() + detail.size() > room) break;
    text += detail;
  }
  if (text.size() > room) text.resize(room);
  return text;
}

}  // namespace orrery::metrics
