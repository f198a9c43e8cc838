// What the workers did when, from RUN/trace/worker-N.json. Local; plain values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/report/run.h"

namespace orrery::report {

struct WorkerTimes {
  std::string name;                       ///< `worker 0 on HOST`
  Curve busy_seconds;                     ///< of each step, overlaps counted once
  Curve resident_bytes;                   ///< largest of each step, where recorded
  std::map<std::string, double> of_span;  ///< seconds by `call`, `call: hook`, over all steps
};

/// One worker's trace. Events that are damaged (a killed job's last one) are left out.
WorkerTimes worker_times(std::string_view trace);

inline constexpr uint64_t kWholeTrace = UINT64_MAX;

/// Of all workers, by their number. A resumed run's trace begins where it was resumed. No such
/// folder: nothing. Throws OutputError when a file cannot be read.
///   most_bytes  of each file its end of that many bytes, whole lines only; or kWholeTrace
std::vector<WorkerTimes> read_worker_times(const std::filesystem::path& run, uint64_t most_bytes);

}  // namespace orrery::report
