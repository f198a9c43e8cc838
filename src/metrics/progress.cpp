#include "orrery/metrics/progress.h"

#include <unistd.h>  // isatty

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "orrery/base/text.h"  // duration_text

namespace orrery::metrics {

namespace {

/// Four significant digits without trailing zeros: 1.234, 0.5, 1.2e-05, nan.
std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
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

}  // namespace

ProgressStyle detect_progress_style() {
  const char* terminal = std::getenv("TERM");
  const bool can_rewrite = terminal != nullptr && std::string_view(terminal) != "dumb";
  return isatty(STDERR_FILENO) == 1 && can_rewrite ? ProgressStyle::kTerminal
                                                   : ProgressStyle::kPlain;
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
  const bool is_plain_due = is_time_for_plain_line(step, now);
  if (is_plain_due && options_.record) options_.record(line(step));
  if (options_.style == ProgressStyle::kTerminal) {
    shown_ = line(step);
    if (static_cast<int>(shown_.size()) >= options_.columns) {
      shown_.resize(static_cast<size_t>(options_.columns - 1));
    }
    out_ << '\r' << shown_ << "\x1b[K" << std::flush;  // erase what a longer line left behind
    return;
  }
  if (is_plain_due) out_ << line(step) << '\n' << std::flush;
}

bool Progress::is_time_for_plain_line(const StepProgress& step,
                                      std::chrono::steady_clock::time_point now) {
  const bool is_last = step.step == options_.limits.total_steps;
  if (last_plain_ && !is_last && now - *last_plain_ < options_.plain_interval) return false;
  last_plain_ = now;
  return true;
}

void Progress::message(std::string_view text) {
  if (options_.record) options_.record(text);
  if (options_.style == ProgressStyle::kTerminal && !shown_.empty()) {
    out_ << '\r' << text << "\x1b[K\n" << shown_ << "\x1b[K" << std::flush;
    return;
  }
  out_ << text << '\n' << std::flush;
}

std::string Progress::line(const StepProgress& step) const {
  std::string text = options_.unit + " " + std::to_string(step.step);
  if (options_.limits.total_steps > 0) text += "/" + std::to_string(options_.limits.total_steps);
  if (step.epoch >= 0) text += " epoch " + std::to_string(step.epoch);
  if (options_.total_epochs > 0) text += "/" + std::to_string(options_.total_epochs);
  for (const auto& [name, value] : step.values) text += " " + name + " " + number_text(value);
  if (step.seconds > 0) {
    text += " " + count_text(step.tokens / step.seconds) + " tokens/s";
    const double per_worker =
        static_cast<double>(step.flops) / step.seconds / 1e12 / std::max(options_.n_workers, 1);
    if (step.epoch >= 0) text += " " + number_text(per_worker) + " TFLOP/s/worker";
    text += " " + base::duration_text(std::chrono::duration<double>(step.seconds)) + " a " +
            options_.unit;
  }
  if (const auto left = remaining_.remaining(clock_()))
    text += " " + base::duration_text(*left) + " left";
  return text;
}

}  // namespace orrery::metrics
