#include "background_log.h"

#include <utility>

namespace orrery::cli {

namespace {
/// Reports are small; this many mean that the file system has been away for long.
constexpr size_t kMaxWaiting = 1000;
}  // namespace

BackgroundLog::BackgroundLog(master::StepObserver& log) : log_(log), thread_([this] { run(); }) {}

BackgroundLog::~BackgroundLog() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void BackgroundLog::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return is_ending_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const std::function<void()> write = std::move(waiting_.front());
    waiting_.pop_front();
    is_writing_ = true;
    lock.unlock();
    std::exception_ptr failure;
    try {
      write();
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    is_writing_ = false;
    if (failure != nullptr) {
      failure_ = failure;
      waiting_.clear();  // a log with a hole is worse than one that ends
    }
    changed_.notify_all();
  }
}

void BackgroundLog::throw_if_failed() {
  if (failure_ != nullptr) std::rethrow_exception(failure_);
}

void BackgroundLog::submit(std::function<void()> write) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return failure_ != nullptr || waiting_.size() < kMaxWaiting; });
  throw_if_failed();
  waiting_.push_back(std::move(write));
  changed_.notify_all();
}

void BackgroundLog::on_step(const master::StepReport& report) {
  submit([this, report] { log_.on_step(report); });
}

void BackgroundLog::on_evaluation(const master::EvaluationReport& report) {
  submit([this, report] { log_.on_evaluation(report); });
}

void BackgroundLog::on_save(const master::SaveReport& report) {
  submit([this, report] { log_.on_save(report); });
}

void BackgroundLog::on_finish(const master::FinishReport& report) {
  submit([this, report] { log_.on_finish(report); });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return waiting_.empty() && !is_writing_; });
  throw_if_failed();
}

}  // namespace orrery::cli
