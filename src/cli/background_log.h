// A log that is written on a thread of its own: a slow or hanging file system must not hold up the
// loop that feeds the workers. Reports are written in their order. What goes wrong is thrown at the
// next report, at the latest by on_finish, which waits until all is written.
#pragma once

#include <exception>
#include <functional>
#include <mutex>

#include "orrery/base/serial_executor.h"
#include "orrery/master/step_loop.h"

namespace orrery::cli {

class BackgroundLog final : public master::StepObserver {
 public:
  /// `log` is only called from the thread until this ends, when it writes what is left and errors
  /// are lost; it must outlive this.
  explicit BackgroundLog(master::StepObserver& log);

  // Each throws what `log` threw before. They wait only when very many reports are unwritten.
  void on_step(const master::StepReport& report) override;
  void on_evaluation(const master::EvaluationReport& report) override;
  void on_save(const master::SaveReport& report) override;
  /// Returns when all reports are written.
  void on_finish(const master::FinishReport& report) override;

 private:
  void submit(std::function<void()> write);
  std::exception_ptr failure();
  void throw_if_failed();

  master::StepObserver& log_;
  std::mutex mutex_;
  std::exception_ptr failure_;   // the first
  base::SerialExecutor thread_;  // last: its jobs use all of the above
};

}  // namespace orrery::cli
