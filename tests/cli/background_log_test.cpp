#include "background_log.h"

#include <gtest/gtest.h>

#include <future>
#include <vector>

#include "orrery/base/error.h"

namespace orrery::cli {
namespace {

/// Writes down which steps it was told about; the first one waits for `gate`.
class RecordingLog final : public master::StepObserver {
 public:
  void on_step(const master::StepReport& report) override {
    if (steps.empty() && gate.valid()) gate.wait();
    if (report.step.step == fail_at) throw OutputError("disk full");
    steps.push_back(report.step.step);
  }
  void on_evaluation(const master::EvaluationReport&) override {}
  void on_save(const master::SaveReport&) override {}
  void on_finish(const master::FinishReport&) override { is_finished = true; }

  std::shared_future<void> gate;
  int64_t fail_at = -1;
  std::vector<int64_t> steps;
  bool is_finished = false;
};

master::StepReport step_report(int64_t step) {
  master::StepReport report;
  report.step.step = step;
  return report;
}

TEST(BackgroundLog, WritesAllReportsInTheirOrderBeforeItFinishes) {
  RecordingLog log;
  BackgroundLog background(log);

  for (int64_t step = 1; step <= 50; ++step) background.on_step(step_report(step));
  background.on_finish({});

  ASSERT_EQ(log.steps.size(), 50u);
  for (int64_t step = 1; step <= 50; ++step) EXPECT_EQ(log.steps[size_t(step - 1)], step);
  EXPECT_TRUE(log.is_finished);
}

TEST(BackgroundLog, DoesNotWaitForASlowFileSystem) {
  std::promise<void> disk;
  RecordingLog log;
  log.gate = disk.get_future().share();
  BackgroundLog background(log);

  for (int64_t step = 1; step <= 10; ++step) background.on_step(step_report(step));
  EXPECT_TRUE(log.steps.empty());  // the disk still hangs, the caller came through
  disk.set_value();
  background.on_finish({});

  EXPECT_EQ(log.steps.size(), 10u);
}

TEST(BackgroundLog, ThrowsAFailureAtTheLatestWhenItFinishes) {
  RecordingLog log;
  log.fail_at = 2;
  BackgroundLog background(log);

  background.on_step(step_report(1));
  background.on_step(step_report(2));

  EXPECT_THROW(background.on_finish({}), OutputError);
  EXPECT_EQ(log.steps, std::vector<int64_t>{1});
}

TEST(BackgroundLog, RefusesReportsAfterAFailure) {
  RecordingLog log;
  log.fail_at = 1;
  BackgroundLog background(log);
  background.on_step(step_report(1));
  EXPECT_THROW(background.on_finish({}), OutputError);

  EXPECT_THROW(background.on_step(step_report(2)), OutputError);
  EXPECT_TRUE(log.steps.empty());
}

}  // namespace
}  // namespace orrery::cli
