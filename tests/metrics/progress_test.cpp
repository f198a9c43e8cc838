#include "orrery/metrics/progress.h"

#include <gtest/gtest.h>

#include <chrono>
#include <sstream>
#include <string>
#include <utility>  // pair
#include <vector>

namespace orrery::metrics {
namespace {

using namespace std::chrono_literals;
using Time = std::chrono::steady_clock::time_point;

/// A clock that stands still until it is moved.
struct TestClock {
  Time now{};
  Progress::Clock read() {
    return [this] { return now; };
  }
};

StepProgress step_at(int64_t step) {
  return {.step = step,
          .epoch = 1,
          .tokens = 3000,
          .seconds = 2,
          .values = {{"reward", 0.5}, {"accuracy", 0.61}, {"entropy", 1.25}},
          .details = {{"approx_kl", 1.2e-5}, {"loss", -0.25}}};
}

TEST(Progress, LineShowsValuesRateAndRemainingTimeWithin80Columns) {
  TestClock clock;
  std::ostringstream out;
  Progress progress({.limits = {.total_steps = 11}, .total_epochs = 3}, out, clock.read());
  clock.now += 2s;

  progress.step_done(step_at(1));

  EXPECT_EQ(out.str(), "step 1/11 reward 0.5 accuracy 0.61 entropy 1.25 1.5k tokens/s 20 s left\n");
}

/// What a terminal of so many columns shows of the first of 11 steps, and what is recorded of it.
std::pair<std::string, std::string> first_line(int columns) {
  TestClock clock;
  std::ostringstream out;
  std::string recorded;
  Progress progress({.limits = {.total_steps = 11},
                     .total_epochs = 3,
                     .style = ProgressStyle::kTerminal,
                     .columns = [columns] { return columns; },
                     .record = [&](std::string_view line) { recorded = line; }},
                    out, clock.read());
  clock.now += 2s;
  progress.step_done(step_at(1));
  return {out.str(), recorded};
}

TEST(Progress, LineOfAWideTerminalHasTheDetailsBehindWhatMatters) {
  EXPECT_EQ(first_line(200).first,
            "\rstep 1/11 reward 0.5 accuracy 0.61 entropy 1.25 1.5k tokens/s 20 s left approx_kl "
            "1.2e-05 loss -0.25 2.0 s a step epoch 1/3\x1b[K");
}

TEST(Progress, LineOfANarrowTerminalLeavesOutWhatMattersLess) {
  EXPECT_EQ(first_line(60).first,
            "\rstep 1/11 reward 0.5 accuracy 0.61 1.5k tokens/s 20 s left\x1b[K");
}

TEST(Progress, RecordsTheSameWhateverTheWidthOfTheTerminal) {
  EXPECT_EQ(first_line(200).second, first_line(40).second);
  EXPECT_EQ(first_line(40).second,
            "step 1/11 reward 0.5 accuracy 0.61 entropy 1.25 1.5k tokens/s 20 s left");
}

TEST(Progress, PlainStyleWritesAtMostALineAMinuteAndTheLastStep) {
  TestClock clock;
  std::ostringstream out;
  Progress progress({.limits = {.total_steps = 25}}, out, clock.read());

  for (int64_t step = 1; step <= 25; ++step) {
    clock.now += 7s;
    progress.step_done(step_at(step));
  }

  std::vector<std::string> steps;
  std::string line;
  for (std::istringstream in(out.str()); std::getline(in, line);) {
    steps.push_back(line.substr(0, line.find('/')));
  }
  EXPECT_EQ(steps, (std::vector<std::string>{"step 1", "step 10", "step 19", "step 25"}));
}

TEST(Progress, PlainStyleShowsTheLastStepOfARunThatEndsEarly) {
  TestClock clock;
  std::ostringstream out;
  Progress progress({}, out, clock.read());
  progress.step_done({.step = 1});
  clock.now += 1s;
  progress.step_done({.step = 2});

  progress.finish();
  progress.finish();

  EXPECT_EQ(out.str(), "step 1 epoch 0\nstep 2 epoch 0\n");
}

TEST(Progress, PlainStyleWritesMessagesAtOnce) {
  TestClock clock;
  std::ostringstream out;
  Progress progress({}, out, clock.read());

  progress.step_done({.step = 1});
  progress.message("checkpoint written");

  EXPECT_EQ(out.str(), "step 1 epoch 0\ncheckpoint written\n");
}

TEST(Progress, TerminalStyleRewritesOneLine) {
  TestClock clock;
  std::ostringstream out;
  {
    Progress progress({.style = ProgressStyle::kTerminal, .columns = [] { return 20; }}, out,
                      clock.read());
    progress.step_done({.step = 1});
    progress.message("checkpoint written");
    progress.step_done({.step = 2});
  }

  EXPECT_EQ(out.str(),
            "\rstep 1 epoch 0\x1b[K"
            "\r\x1b[Kcheckpoint written\nstep 1 epoch 0"
            "\rstep 2 epoch 0\x1b[K\n");
}

TEST(Progress, TerminalStyleEndsTheLineBeforeWhatComesBehindTheLastStep) {
  TestClock clock;
  std::ostringstream out;
  Progress progress({.style = ProgressStyle::kTerminal}, out, clock.read());
  progress.step_done({.step = 1});

  progress.finish();
  progress.message("finished");

  EXPECT_EQ(out.str(), "\rstep 1 epoch 0\x1b[K\nfinished\n");
}

TEST(Progress, RecordsPlainLinesWhateverTheScreenShows) {
  TestClock clock;
  std::ostringstream out;
  std::vector<std::string> recorded;
  Progress progress({.style = ProgressStyle::kTerminal,
                     .record = [&](std::string_view line) { recorded.emplace_back(line); }},
                    out, clock.read());

  progress.step_done({.step = 1});
  clock.now += 1s;
  progress.step_done({.step = 2});
  progress.message("checkpoint written");
  clock.now += 60s;
  progress.step_done({.step = 3});

  EXPECT_EQ(recorded,
            (std::vector<std::string>{"step 1 epoch 0", "checkpoint written", "step 3 epoch 0"}));
}

TEST(Progress, TerminalLineFollowsTheWindowAndNeverWraps) {
  TestClock clock;
  std::ostringstream out;
  int columns = 10;
  Progress progress({.style = ProgressStyle::kTerminal, .columns = [&] { return columns; }}, out,
                    clock.read());

  progress.step_done(step_at(1));
  columns = 40;
  progress.step_done(step_at(2));

  EXPECT_EQ(out.str(),
            "\rstep 1 1.\x1b[K"
            "\rstep 2 reward 0.5 1.5k tokens/s\x1b[K");
}

TEST(RemainingTime, IsUnknownBeforeTheFirstStepAndWithoutALimit) {
  RemainingTime limited({.total_steps = 5}, Time{});
  RemainingTime endless({}, Time{});
  endless.step_done(1, Time{1s}, 1s);

  EXPECT_FALSE(limited.remaining(Time{1s}).has_value());
  EXPECT_FALSE(endless.remaining(Time{1s}).has_value());
}

TEST(RemainingTime, FollowsTheRecentSteps) {
  RemainingTime remaining({.total_steps = 60}, Time{});
  Time now{};
  for (int64_t step = 1; step <= 20; ++step) remaining.step_done(step, now += 10s, 10s);
  for (int64_t step = 21; step <= 40; ++step) remaining.step_done(step, now += 1s, 1s);

  EXPECT_NEAR(remaining.remaining(now)->count(), 20.0, 1e-9);
  EXPECT_NEAR(remaining.remaining(now + 5s)->count(), 15.0, 1e-9);
}

TEST(RemainingTime, LeavesOutWhatCameBeforeTheFirstStep) {
  RemainingTime remaining({.total_steps = 11}, Time{});
  remaining.step_done(1, Time{302s}, 2s);  // five minutes of loading and evaluating

  EXPECT_NEAR(remaining.remaining(Time{302s})->count(), 20.0, 1e-9);
}

TEST(RemainingTime, CountsWhatLiesBetweenSteps) {
  RemainingTime remaining({.total_steps = 12}, Time{});
  remaining.step_done(1, Time{2s}, 2s);
  remaining.step_done(2, Time{8s}, 2s);  // four seconds of evaluation before it

  EXPECT_NEAR(remaining.remaining(Time{8s})->count(), 40.0, 1e-9);
}

TEST(RemainingTime, CountsTheSecondsBeforeARunWasResumed) {
  RemainingTime remaining({.total_seconds = 100, .seconds_before = 70}, Time{});
  remaining.step_done(41, Time{10s}, 1s);

  EXPECT_NEAR(remaining.remaining(Time{10s})->count(), 20.0, 1e-9);
}

TEST(RemainingTime, EndsAtTheFirstLimit) {
  RemainingTime remaining({.total_steps = 100, .total_seconds = 50}, Time{});
  remaining.step_done(1, Time{10s}, 10s);

  EXPECT_NEAR(remaining.remaining(Time{10s})->count(), 40.0, 1e-9);
  EXPECT_NEAR(remaining.remaining(Time{90s})->count(), 0.0, 1e-9);
}

TEST(RemainingTime, OfAResumedRunCountsFromItsOwnSteps) {
  RemainingTime remaining({.total_steps = 43}, Time{});
  remaining.step_done(41, Time{4s}, 4s);

  EXPECT_NEAR(remaining.remaining(Time{4s})->count(), 8.0, 1e-9);
}

}  // namespace
}  // namespace orrery::metrics
