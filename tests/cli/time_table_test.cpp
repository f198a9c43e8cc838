#include "time_table.h"

#include <gtest/gtest.h>

#include <numeric>

#include "orrery/base/text.h"

namespace orrery::cli {
namespace {

master::StepReport step_report(int64_t step) {
  master::StepReport report;
  report.step.step = step;
  report.seconds = 4;
  master::CallReport& generation = report.calls.emplace_back();
  generation.call = "actor_gen";
  generation.seconds = 2.5;
  generation.times = {{.name = "load/main", .max = 0.5, .mean = 0.5},
                      {.name = "pre/param_realloc", .max = 0.25, .mean = 0.1},
                      {.name = "pre/data_transfer", .max = 0.25, .mean = 0.1},
                      {.name = "main", .max = 2, .mean = 1}};
  master::CallReport& training = report.calls.emplace_back();
  training.call = "actor_train";
  training.seconds = 1;
  training.times = {{.name = "main", .max = 0.75, .mean = 0.5},
                    {.name = "post/param_realloc", .max = 0.25, .mean = 0.1}};
  return report;
}

TEST(TimeTable, AddsUpCallsAndPhasesAndGivesTheirShares) {
  TimeTable table;
  table.add(step_report(1));
  table.add(step_report(2));
  table.add(
      master::EvaluationReport{.step = 2, .call = "a", .set = {}, .statistics = {}, .seconds = 1});
  table.add(
      master::EvaluationReport{.step = 2, .call = "b", .set = {}, .statistics = {}, .seconds = 2});

  const std::string text = table.text(20);

  EXPECT_EQ(text,
            "where the time went: 2 steps in 20 s; phases are the slowest worker's\n"
            "call           pre           main          post          all\n"
            "load           -             1.0 s  5.0 %  -             1.0 s  5.0 %\n"
            "actor_gen      1.0 s  5.0 %  4.0 s  20 %   -             5.0 s  25 %\n"
            "actor_train    -             1.5 s  7.5 %  0.5 s  2.5 %  2.0 s  10 %\n"
            "evaluation     -             -             -             2.0 s  10 %\n"
            "start and end  -             -             -             10 s  50 %\n"
            "together       -             -             -             20 s  100 %\n");
}

/// The last column of the rows of calls and the rest, without the last row, and of that.
std::pair<double, double> sum_and_whole(const std::string& text) {
  std::vector<double> seconds;
  for (const std::string& line : base::split(base::trim(text), '\n')) {
    const size_t last = line.find_last_of("s");  // of ` s  25 %`
    const size_t begin = line.find_last_of(' ', last - 2);
    if (line.ends_with("%")) seconds.push_back(std::stod(line.substr(begin + 1)));
  }
  const double whole = seconds.back();
  seconds.pop_back();
  return {std::accumulate(seconds.begin(), seconds.end(), 0.0), whole};
}

TEST(TimeTable, AddsUpToTheWholeWhereCallsRunAtTheSameTime) {
  TimeTable table;
  master::StepReport report = step_report(1);
  report.calls[0].seconds = 3.5;  // of 4 s, with 1 s of training and 0.5 s of loading beside it
  table.add(report);

  const std::string text = table.text(6);

  EXPECT_NE(text.find("at the same time  -             -             -             -1.0 s  -17 %"),
            std::string::npos)
      << text;
  const auto [sum, whole] = sum_and_whole(text);
  EXPECT_NEAR(sum, whole, 0.25) << text;  // of 0.1 s each
  EXPECT_EQ(whole, 6);
}

TEST(TimeTable, AddsUpToTheWholeWhereNobodyCalls) {
  TimeTable table;
  master::StepReport report = step_report(1);
  report.calls[0].seconds = 1;
  table.add(report);

  const std::string text = table.text(6);

  EXPECT_NE(text.find("between calls  -             -             -             1.5 s  25 %"),
            std::string::npos)
      << text;
  const auto [sum, whole] = sum_and_whole(text);
  EXPECT_NEAR(sum, whole, 0.25) << text;
}

TEST(TimeTable, FitsATerminalOf80Columns) {
  TimeTable table;
  for (int64_t step = 1; step <= 2000; ++step) table.add(step_report(step));

  for (const std::string& line : base::split(table.text(36'000), '\n')) {
    EXPECT_LE(line.size(), 80u) << line;
  }
}

TEST(TimeTable, OfOneStepSaysStep) {
  TimeTable table;
  table.add(step_report(1));

  EXPECT_TRUE(table.text(4).starts_with("where the time went: 1 step in 4.0 s;"));
}

}  // namespace
}  // namespace orrery::cli
