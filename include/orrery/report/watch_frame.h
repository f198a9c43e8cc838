// What `orrery watch` shows of a run at a moment: text for a terminal. Pure.
#pragma once

#include <string>
#include <vector>

#include "orrery/report/run.h"
#include "orrery/report/samples.h"
#include "orrery/report/worker_times.h"

namespace orrery::report {

struct WatchOptions {
  int columns = 80;
  int plot_rows = 6;
  std::vector<std::string> metrics = {};  ///< drawn, two beside each other where there is room
};

/// Progress, curves, times of the calls over the last steps, workers, latest answers.
std::string watch_frame(const RunRecord& run, const std::vector<WorkerTimes>& workers,
                        const std::vector<Sample>& latest, const WatchOptions& options);

/// Answers of the newest file of RUN/samples, at most `n`, the last ones of it.
std::vector<Sample> latest_samples(const std::filesystem::path& run, size_t n);

}  // namespace orrery::report
