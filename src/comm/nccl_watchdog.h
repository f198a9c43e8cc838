// One rank's NCCL communicator with a thread that watches its operations, so that their callers
// need not wait: it asks the device how far they have come, and ends the communicator when one
// misses its deadline or NCCL reports a failure. Kernels that wait for peers end then, and with
// them whatever the host waits for on their stream.
//
// NCCL's calls on one communicator must not meet: each is made under a lock. A thread a group,
// since ncclCommAbort may wait for the device, and an operation of another group that has to be
// ended as well may stand there. And a thread for the abort: it ends the kernels at once, and
// returns when no graph is left that holds operations of the group, which whoever finds the failure
// may be the owner of.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "nccl_check.h"
#include "orrery/base/error.h"
#include "orrery/comm/activity.h"

namespace orrery::comm {

class NcclWatchdog {
 public:
  using Clock = Activity::Clock;

  struct Operation {
    std::string_view name;     // a constant
    std::vector<int> workers;  // that it waits for
    std::chrono::duration<double> deadline{};
  };
  /// The group's words for what went wrong. Any thread.
  struct Errors {
    std::function<CommError(const Operation&, Clock::time_point since)> deadline;
    std::function<CommError(const Operation&, std::string_view what)> failure;
  };

  /// `activity` is told which operation is under way; may be null. `group`: its name.
  NcclWatchdog(UniqueNcclComm comm, int device, Errors errors, Activity* activity,
               std::string group);

  /// Waits until NCCL has accepted what it was last asked for. Throws why the group failed.
  void wait_until_accepted(const Operation& operation);

  /// Makes `call(ncclComm_t)`; returns once NCCL has accepted it. Throws why the group failed.
  template <class Call>
  void run(const Operation& operation, const Call& call) {
    {
      const std::lock_guard calls(calls_);
      throw_if_failed();
      call(comm_.get());
    }
    wait_until_accepted(operation);
  }

  /// An event that is recorded on `stream` now; none while that is being captured.
  UniqueCudaEvent event_on(cudaStream_t stream);

  /// Sees to it that the operation ends, which was just enqueued on `stream`; not one that is being
  /// captured there, which runs when its graph is launched. Its deadline is counted from when the
  /// stream comes to `begin`, recorded before it; without, from now or the end of the group's one
  /// before it.
  void watch(Operation operation, UniqueCudaEvent begin, cudaStream_t stream);

  /// Throws why the group failed, if it has. Does not wait.
  void throw_if_failed() const;

 private:
  using Lock = std::unique_lock<std::mutex>;

  struct UnderWay {
    Operation operation;
    UniqueCudaEvent begin, end;
    std::optional<Clock::time_point> since;  // it was seen that nothing was before it any more
  };

  void watch_all(std::stop_token stop);
  void drop_finished(Lock& lock, std::optional<Activity::Waiting>& told);
  bool has_begun(Lock& lock);
  void ask_nccl(const Operation& operation);
  void check_deadline(Lock& lock);
  ncclResult_t state_of_comm() const;
  ncclComm_t take_comm();
  void fail(CommError error);
  void abort(ncclComm_t comm);
  void lose_device(const Operation& operation, cudaError_t error);

  const int device_;
  const Errors errors_;
  Activity* const activity_;
  const std::string group_;
  mutable std::timed_mutex calls_;  // of comm_; taken before mutex_
  UniqueNcclComm comm_;             // none: the group failed
  mutable std::mutex mutex_;        // of all that follows
  std::condition_variable_any wake_;
  std::optional<CommError> failure_;
  std::deque<UnderWay> under_way_;  // in the order of the stream; the thread takes them out
  std::vector<UniqueCudaEvent> spare_;
  std::jthread abort_;   // once it failed
  std::jthread thread_;  // ends first
};

}  // namespace orrery::comm
