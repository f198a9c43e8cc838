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

#include "orrery/metrics/remaining_time.h"

namespace orrery::metrics {

enum class ProgressStyle {
  kTerminal,  ///< one line, rewritten in place
  kPlain,     ///< a new line at most every `plain_interval`, and for the last step
};

/// kTerminal when standard error is seen on a terminal that can rewrite a line.
ProgressStyle detect_progress_style();

struct ProgressOptions {
  std::string unit = "step";  ///< what is counted, for other work than training
  RunLimits limits = {};
  int64_t total_epochs = 0;  ///< 0 = no limit
  ProgressStyle style = ProgressStyle::kPlain;
  std::chrono::milliseconds plain_interval{60'000};
  /// Of a terminal, whose lines are shorter: a wrapped line cannot be rewritten. Asked for every
  /// line, windows change their size. Elsewhere lines are for 80 columns.
  std::function<int()> columns = [] { return 80; };
  /// Gets what kPlain shows, whatever the style: for a log file. Empty: nothing is recorded.
  std::function<void(std::string_view line)> record = {};
};

/// What one finished step did.
struct StepProgress {
  int64_t step = 0;    ///< 1-based
  int64_t epoch = 0;   ///< -1: not training, no epoch is shown
  double tokens = 0;   ///< processed in this step by all calls
  double seconds = 0;  ///< duration of this step
  /// Shown by name, what matters first: {"reward", 0.4}, {"entropy", 1.2}. The last ones are left
  /// out where there is no room for them.
  std::vector<std::pair<std::string, double>> values = {};
  /// Likewise, where there is room behind everything else.
  std::vector<std::pair<std::string, double>> details = {};
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

  /// No further step comes: the line of the last one stands, whenever the one before it was shown.
  void finish();

  /// The line for a step without any control characters:
  /// `step 12/300 reward 0.5 entropy 1.23 1.2k tokens/s 3m05s left 2.0 s a step epoch 1`.
  std::string line(const StepProgress& step, int columns) const;

 private:
  void write_plain(const std::string& text);
  void show(const std::string& text);
  void end_line();

  ProgressOptions options_;
  std::ostream& out_;
  Clock clock_;
  RemainingTime remaining_;
  std::optional<std::chrono::steady_clock::time_point> last_plain_;
  std::string waiting_;  ///< line of the last step, if it was not shown as a plain one
  std::string shown_;    ///< kTerminal: what stands in the line now
};

}  // namespace orrery::metrics
