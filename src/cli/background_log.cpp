#include "background_log.h"

#include <utility>

namespace orrery::cli {

namespace {
/// Reports are small; this many mean that the file system has been away for long.
constexpr size_t kMaxWaiting = 1000;
}  // namespace

BackgroundLog::BackgroundLog(master::StepObserver& log) : log_(log) {}

std::exception_ptr BackgroundLog::failure() {
  const std::lock_guard lock(mutex_);
  return failure_;
}

void BackgroundLog::throw_if_failed() {
  if (const std::exception_ptr what = failure(); what != nullptr) std::rethrow_exception(what);
}

void BackgroundLog::submit(std::function<void()> write) {
  thread_.wait_until_left(kMaxWaiting);
  throw_if_failed();
  thread_.submit([this, write = std::move(write)] {
    if (failure() != nullptr) return;  // a log with a hole is worse than one that ends
    try {
      write();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
    }
  });
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
  thread_.wait_until_left(0);
  throw_if_failed();
}

}  // namespace orrery::cli
