#include "orrery/worker/watchdog.h"

#include <pthread.h>
#include <time.h>

#include <algorithm>  // any_of
#include <condition_variable>
#include <cstdlib>  // _Exit
#include <fstream>
#include <map>
#include <mutex>
#include <utility>

#include "orrery/base/error.h"  // ExitCode
#include "orrery/base/json.h"   // state files
#include "orrery/base/log.h"
#include "orrery/base/text.h"

namespace orrery::worker {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

std::string name_of(int worker) {
  return worker == kMaster ? "the master" : base::concat("worker ", worker);
}

}  // namespace

fs::path state_file(const fs::path& directory, int worker) {
  if (worker == kMaster) return directory / "master.json";
  return directory / base::concat("worker-", worker, ".json");
}

void write_state(const fs::path& file, const WorkerState& state) {
  const nlohmann::json json = {{"worker", state.worker},       {"host", state.host},
                               {"operation", state.operation}, {"peers", state.peers},
                               {"waited_s", state.waited_s},   {"progress", state.progress}};
  fs::path partial = file;
  partial += ".partial";
  std::ofstream out(partial);
  out << json << '\n';
  out.close();
  std::error_code ignored;
  if (out) fs::rename(partial, file, ignored);
}

std::optional<WorkerState> read_state(const fs::path& file) {
  std::ifstream in(file);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  const nlohmann::json json = base::parse_json(text).value;
  if (!json.is_object()) return std::nullopt;
  try {
    return WorkerState{.worker = json.at("worker"),
                       .host = json.at("host"),
                       .operation = json.at("operation"),
                       .peers = json.at("peers"),
                       .waited_s = json.at("waited_s"),
                       .progress = json.at("progress")};
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

std::string who_waits_on_whom(const std::vector<WorkerState>& states) {
  std::string text;
  for (const WorkerState& state : states) {
    text += base::concat("  ", name_of(state.worker), " on ", state.host, ": ");
    if (state.operation.empty()) {
      text += "busy with its own work, or gone";
    } else {
      const bool is_for_master = state.peers == std::vector<int>{kMaster};
      text += base::concat(
          state.operation, ", waits for ",
          is_for_master ? name_of(kMaster) : base::concat("worker ", base::join(state.peers, ", ")),
          " since ", base::duration_text(std::chrono::duration<double>(state.waited_s)));
    }
    text += base::concat(" (progress ", state.progress, ")\n");
  }
  return text;
}

namespace {

/// Milliseconds of processor time that a thread has used.
uint64_t busy_milliseconds(pthread_t thread) {
  clockid_t clock;
  timespec used{};
  if (::pthread_getcpuclockid(thread, &clock) != 0 || ::clock_gettime(clock, &used) != 0) return 0;
  return static_cast<uint64_t>(used.tv_sec) * 1000 + static_cast<uint64_t>(used.tv_nsec) / 1000000;
}

WorkerState describe(const comm::Activity::Snapshot& now, const WatchdogOptions& options) {
  WorkerState state{.worker = options.worker,
                    .host = options.host,
                    .operation = "",
                    .peers = {},
                    .waited_s = 0,
                    .progress = now.progress};
  if (now.is_waiting) {
    state.operation = base::concat(now.operation, " on ", now.communicator);
    state.peers = now.peers;
    state.waited_s = std::chrono::duration<double>(Clock::now() - now.since).count();
  }
  return state;
}

/// When each peer was last seen to make progress.
class PeerProgress {
 public:
  /// True if any of `peers` moved less than `limit` ago, as its file tells.
  bool moved_within(std::chrono::duration<double> limit, const std::vector<int>& peers,
                    const fs::path& directory) {
    const Clock::time_point now = Clock::now();
    bool moved = false;
    for (const int peer : peers) {
      const std::optional<WorkerState> state = read_state(state_file(directory, peer));
      const uint64_t progress = state ? state->progress : 0;
      // A peer first looked at now has the whole deadline from now on.
      const auto [seen, is_new] = seen_.try_emplace(peer, Seen{progress, now});
      if (!is_new && seen->second.progress != progress) seen->second = {progress, now};
      moved |= now - seen->second.when < limit;
    }
    return moved;
  }

 private:
  struct Seen {
    uint64_t progress;
    Clock::time_point when;
  };
  std::map<int, Seen> seen_;
};

[[noreturn]] void log_and_exit(const std::string& report) {
  base::log_error(report);
  std::_Exit(static_cast<int>(ExitCode::kPeerLost));  // the main thread hangs inside MPI
}

}  // namespace

Watchdog::Watchdog(const comm::Activity& activity, WatchdogOptions options)
    : activity_(activity),
      options_(std::move(options)),
      watched_thread_(::pthread_self()),
      thread_([this](std::stop_token stop) { run(stop); }) {}

Watchdog::~Watchdog() = default;  // the jthread asks its loop to stop and joins it

void Watchdog::run(std::stop_token stop) {
  PeerProgress peers;
  std::mutex mutex;
  std::condition_variable_any wake;
  uint64_t published = ~uint64_t{0};
  bool was_waiting = false;
  uint64_t busy = 0;
  while (!stop.stop_requested()) {
    comm::Activity::Snapshot now = activity_.snapshot();
    // Work that finishes no communication (a long generation) is progress too, as long as it uses
    // the processor; polling for peers, or for the master, is not.
    const bool is_ready = now.is_waiting && now.peers == std::vector<int>{kMaster};
    if (!now.is_waiting) busy = busy_milliseconds(watched_thread_);
    now.progress += busy;
    if (now.progress != published || now.is_waiting || was_waiting) {
      write_state(state_file(options_.directory, options_.worker), describe(now, options_));
      published = now.progress;
      was_waiting = now.is_waiting;
    }
    const auto waited = Clock::now() - now.since;
    const bool is_overdue = now.is_waiting && waited > options_.deadline;
    // Most workers wait for the master now and then: they do not all read its file each time.
    const bool is_to_look = now.is_waiting && (!is_ready || waited > options_.deadline / 2);
    if (is_to_look && !peers.moved_within(options_.deadline, now.peers, options_.directory) &&
        is_overdue) {
      std::vector<WorkerState> states;
      for (int worker = kMaster; worker < options_.n_workers; ++worker) {
        if (auto state = read_state(state_file(options_.directory, worker))) {
          states.push_back(std::move(*state));
        }
      }
      const std::string report = base::concat(
          "no progress of ", is_ready ? "the master" : "the peers", " that worker ",
          options_.worker, " waits for within ", base::duration_text(options_.deadline),
          "; who waits on whom:\n", who_waits_on_whom(states),
          "look at the worker that waits for nobody; experiment.deadline_seconds sets the limit");
      (options_.on_stall ? options_.on_stall : log_and_exit)(report);
      return;
    }
    std::unique_lock lock(mutex);
    wake.wait_for(lock, stop, options_.interval, [] { return false; });
  }
}

}  // namespace orrery::worker
