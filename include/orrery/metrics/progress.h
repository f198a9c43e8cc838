// What a person watching the job sees: one line that is rewritten on a terminal, or now and then a
// plain line in a log file. Rank 0 only; one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "orrery/metrics/flops.h"
#include "orrery/metrics/remaining_time.h"

namespace orrery::metrics {

enum class ProgressStyle {
  kTerminal,  ///< one line, rewritten in place
  kPlain,     ///< a new line at most every `plain_interval`, and for the last step
};

/// kTerminal when standard error is a terminal that can rewrite a line.
ProgressStyle detect_progress_style();

struct ProgressOptions {
  std::string unit = "step";  ///< what is counted, for other work than training
  RunLimits limits = {};
  int64_t total_epochs = 0;  ///< 0 = no limit
  int n_workers = 1;
  ProgressStyle style = ProgressStyle::kPlain;
  std::chrono::milliseconds plain_interval{5000};
  int columns = 100;  ///< kTerminal: longer lines are cut, a wrapped line cannot be rewritten
  /// Gets what kPlain shows, whatever the style: for a log file. Empty: nothing is recorded.
  std::function<void(std::string_view line)> record = {};
};

/// What one finished step did.
struct StepProgress {
  int64_t step = 0;    ///< 1-based
  int64_t epoch = 0;   ///< -1: not training, neither epoch nor FLOPs are shown
  double tokens = 0;   ///< processed in this step by all calls
  Flops flops = 0;     ///< of all workers in this step
  double seconds = 0;  ///< duration of this step
  /// Shown by name in this order: {"loss", 3.2}, {"reward", 0.4}.
  std::vector<std::pair<std::string, double>> values = {};
};

class Progress {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;

  /// Writes to `out`, which must outlive it. `clock` is a parameter so that tests need not wait.
  Progress(
      const ProgressOptions& options, std::ostream& out,
      Clock clock = [] { return std::chrono::steady_clock::now(); });
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Ends a rewritten line.
  ~Progress();

  /// Call once after every step.
  void step_done(const StepProgress& step);
  /// A line of text between steps (evaluation, checkpoint written), kept above the rewritten line.
  void message(std::string_view text);

  /// The line for a step without any control characters:
  /// `step 12/300 epoch 1 loss 1.234 reward 0.5 1.2k tokens/s 0.01 TFLOP/s/worker 2.0 s a step
  /// 3m05s left`.
  std::string line(const StepProgress& step) const;

 private:
  void end_line();
  bool is_time_for_plain_line(const StepProgress& step, std::chrono::steady_clock::time_point now);

  ProgressOptions options_;
  std::ostream& out_;
  Clock clock_;
  RemainingTime remaining_;
  std::optional<std::chrono::steady_clock::time_point> last_plain_;
  std::string shown_;  ///< kTerminal: what stands in the line now
};

}  // namespace orrery::metrics
