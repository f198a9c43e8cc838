// Notices that this worker waits for peers that do not move, and says who waits on whom.
//
// A thread of its own, without MPI. Every interval it publishes what the main thread is doing in a
// small file of the run directory (`state/worker-3.json`); while the main thread waits for peers it
// reads theirs. As long as any of them makes progress, waiting is legal, however long: a peer may
// be generating. When none has for the whole deadline it writes the picture of all workers to the
// log and ends the process with code 4; the launcher then ends the job. The master publishes in the
// same way and is a peer of workers that wait for its next request: nobody else would notice that
// it hangs.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "orrery/comm/activity.h"

namespace orrery::worker {

/// The master among the peers that a worker waits for, and as the owner of a state.
inline constexpr int kMaster = -1;

/// What one worker published, as read back from its file.
struct WorkerState {
  int worker = kMaster;
  std::string host;
  std::string operation;   // `all_reduce on actor.0/data0`; empty: busy with its own work, or idle
  std::vector<int> peers;  // workers it waits for
  double waited_s = 0;     // how long it had been in the operation when it published
  uint64_t progress = 0;   // counts everything that the worker finished
};

std::filesystem::path state_file(const std::filesystem::path& directory, int worker);
/// Atomic, without sync: readers see an old or a new state, never half of one. A failure to write
/// (disk full) is ignored: the state is a help for diagnosis only.
void write_state(const std::filesystem::path& file, const WorkerState& state);
/// Nothing when the file is missing or torn.
std::optional<WorkerState> read_state(const std::filesystem::path& file);

/// One line per worker: what it does and whom it waits for since when.
std::string who_waits_on_whom(const std::vector<WorkerState>& states);

struct WatchdogOptions {
  std::filesystem::path directory;  // state/ of the run
  int worker = 0;                   // or kMaster
  int n_workers = 1;
  std::string host;
  std::chrono::milliseconds interval{1000};
  std::chrono::duration<double> deadline{600};
  /// Called with the report, from the watchdog's thread; the default logs it and exits with 4.
  std::function<void(const std::string& report)> on_stall;
};

class Watchdog {
 public:
  /// Watches the thread that constructs it. `activity` must outlive the watchdog.
  Watchdog(const comm::Activity& activity, WatchdogOptions options);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void run(std::stop_token stop);

  const comm::Activity& activity_;
  WatchdogOptions options_;
  std::thread::native_handle_type watched_thread_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace orrery::worker
