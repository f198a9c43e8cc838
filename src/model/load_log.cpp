#include "orrery/model/load_log.h"

#include <algorithm>  // max
#include <utility>

#include "orrery/base/text.h"

namespace orrery::model {

LoadLog::LoadLog(std::string what, std::string path, std::function<void(const std::string&)> say,
                 Clock::duration period)
    : what_(std::move(what)),
      path_(std::move(path)),
      say_(std::move(say)),
      period_(period),
      begin_(Clock::now()),
      last_(begin_) {}

void LoadLog::observe(const LoadProgress& progress, Clock::time_point now) {
  const bool is_last = progress.parameters_read == progress.parameters;
  if (now - last_ < period_ && !(is_last && has_spoken_)) return;
  last_ = now;
  has_spoken_ = true;
  const std::chrono::duration<double> since = now - begin_;
  const double rate = static_cast<double>(progress.file_bytes) / std::max(since.count(), 1e-3);
  say_(base::concat(what_, ": ", progress.parameters_read * 100 / progress.parameters, " % of ",
                    path_, " is read, ", base::bytes_text(progress.file_bytes), " in ",
                    base::duration_text(since), ", ", base::bytes_text(static_cast<int64_t>(rate)),
                    "/s"));
}

}  // namespace orrery::model
