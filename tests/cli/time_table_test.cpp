#include "time_table.h"

#include <gtest/gtest.h>

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

  EXPECT_EQ(
      text,
      "where the time went: 2 steps in 20 s; phases of the slowest worker; calls on different "
      "workers overlap\n"
      "call           pre           main          post          all\n"
      "load           -             1.0 s  5.0 %  -             1.0 s  5.0 %\n"
      "actor_gen      1.0 s  5.0 %  4.0 s  20 %   -             5.0 s  25 %\n"
      "actor_train    -             1.5 s  7.5 %  0.5 s  2.5 %  2.0 s  10 %\n"
      "evaluation     -             -             -             2.0 s  10 %\n"
      "start and end  -             -             -             10 s  50 %\n");
}

TEST(TimeTable, OfOneStepSaysStep) {
  TimeTable table;
  table.add(step_report(1));

  EXPECT_TRUE(table.text(4).starts_with("where the time went: 1 step in 4.0 s;"));
}

}  // namespace
}  // namespace orrery::cli
