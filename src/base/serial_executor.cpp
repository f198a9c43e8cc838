#include "orrery/base/serial_executor.h"

#include <utility>

namespace orrery::base {

SerialExecutor::SerialExecutor() : thread_([this] { run(); }) {}

SerialExecutor::~SerialExecutor() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void SerialExecutor::submit(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(job));
    ++n_left_;
  }
  changed_.notify_all();
}

void SerialExecutor::wait_until_left(size_t n_jobs) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return n_left_ <= n_jobs; });
}

void SerialExecutor::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return is_ending_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    std::function<void()> job = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    job();
    job = nullptr;  // freed here, not under the lock
    lock.lock();
    --n_left_;
    changed_.notify_all();
  }
}

}  // namespace orrery::base
