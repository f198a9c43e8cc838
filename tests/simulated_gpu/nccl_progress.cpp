#include "nccl_progress.h"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

namespace orrery::simulated_gpu {

namespace {

using Calls = std::shared_ptr<CallsUnderWay>;
using Lock = std::unique_lock<std::recursive_mutex>;

constexpr std::chrono::milliseconds kInterval{1};
/// Beyond any test of what happens before somebody waits, and below every deadline.
constexpr std::chrono::milliseconds kLeftForLong{250};

class Progress {
 public:
  Progress() : thread_([this](std::stop_token stop) { run(stop); }) {}
  ~Progress() {
    if (::getpid() != process_) thread_.detach();  // a forked child has no such thread
  }

  void add(const Calls& calls) {
    const Lock lock(lock_of_streams());
    calls_.push_back(calls);
    wake_.notify_one();
  }

 private:
  void run(const std::stop_token& stop) {
    Lock lock(lock_of_streams());
    while (wake_.wait(lock, stop, [this] { return !calls_.empty(); })) {
      lock.unlock();
      std::this_thread::sleep_for(kInterval);
      if (stop.stop_requested()) return;
      for (const Calls& calls : due()) {
        while (run_towards(*calls)) {
        }
      }
      lock.lock();
    }
  }

  std::vector<Calls> due() {
    const Lock lock(lock_of_streams());
    const auto now = std::chrono::steady_clock::now();
    std::erase_if(calls_, [](const auto& calls) { return calls.expired(); });
    std::vector<Calls> result;
    for (const auto& in_stream : calls_) {
      const Calls calls = in_stream.lock();
      const bool is_left = order() == Order::kEager || now - calls->since > kLeftForLong;
      if (is_left || std::any_of(calls->operations.begin(), calls->operations.end(),
                                 [](const Operation& each) { return each.is_wanted(); })) {
        result.push_back(calls);
      }
    }
    return result;
  }

  /// One task at a time: others get the lock between two.
  static bool run_towards(const CallsUnderWay& calls) {
    const Lock lock(lock_of_streams());
    return !calls.is_done && run_task(calls.stream);
  }

  const pid_t process_ = ::getpid();
  std::condition_variable_any wake_;
  std::vector<std::weak_ptr<CallsUnderWay>> calls_;  // that are in a stream
  std::jthread thread_;
};

}  // namespace

bool CallsUnderWay::advance() {
  is_done = true;
  for (Operation& operation : operations) is_done = operation.advance() && is_done;
  return is_done;
}

void run_for_others(const Calls& calls) {
  static Progress progress;
  progress.add(calls);
}

}  // namespace orrery::simulated_gpu
