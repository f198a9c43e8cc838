// Runs jobs one after another on a thread of its own, in the order in which they came.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace orrery::base {

class SerialExecutor {
 public:
  SerialExecutor();
  /// Runs what is left, and waits for it.
  ~SerialExecutor();
  SerialExecutor(const SerialExecutor&) = delete;
  SerialExecutor& operator=(const SerialExecutor&) = delete;

  /// Any thread, a job's too. What `job` throws ends the program: a job keeps its errors. It is
  /// destroyed, with what it captured, before the next one runs.
  void submit(std::function<void()> job);

  /// Waits until at most so many jobs are not yet done. Not from a job.
  void wait_until_left(size_t n_jobs);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  size_t n_left_ = 0;  // waiting, and the one that runs
  bool is_ending_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace orrery::base
