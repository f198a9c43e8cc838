// A log that is written on a thread of its own: a slow or hanging file system must not hold up the
// loop that feeds the workers. Reports are written in their order. What goes wrong is thrown at the
// next report, at the latest by on_finish, which waits until all is written.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "orrery/master/step_loop.h"

namespace orrery::cli {

class BackgroundLog final : public master::StepObserver {
 public:
  /// `log` is only called from the thread until this ends; it must outlive this.
  explicit BackgroundLog(master::StepObserver& log);
  /// Writes what is left; errors are lost.
  ~BackgroundLog() override;

  // Each throws what `log` threw before. They wait only when very many reports are unwritten.
  void on_step(const master::StepReport& report) override;
  void on_evaluation(const master::EvaluationReport& report) override;
  void on_save(const master::SaveReport& report) override;
  /// Returns when all reports are written.
  void on_finish(const master::FinishReport& report) override;

 private:
  void submit(std::function<void()> write);
  void throw_if_failed();
  void run();

  master::StepObserver& log_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  bool is_writing_ = false;
  bool is_ending_ = false;
  std::exception_ptr failure_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace orrery::cli
