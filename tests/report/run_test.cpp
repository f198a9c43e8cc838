#include "orrery/report/run.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orrery/base/error.h"
#include "run_for_test.h"

namespace orrery::report {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kLine =
    "{\"step\":1,\"time_s\":0.5,\"call\":null,\"metrics\":{\"samples\":8}}\n";

TEST(Run, ReadsNumbersAndNullsByMetric) {
  const RunForTest run;
  run.write(
      "metrics.jsonl",
      "{\"step\":1,\"time_s\":0.5,\"call\":\"a\",\"metrics\":{\"a/loss\":2.5,\"a/lr\":null}}\n"
      "{\"step\":2,\"time_s\":0.9,\"call\":\"a\",\"metrics\":{\"a/loss\":1.5}}\n");
  RunReader reader(run.root());
  const RunRecord& record = reader.update();

  EXPECT_THAT(record.curves.at("a/loss").steps, ElementsAre(1, 2));
  EXPECT_THAT(record.curves.at("a/loss").values, ElementsAre(2.5, 1.5));
  EXPECT_TRUE(std::isnan(record.curves.at("a/lr").values.front()));
  EXPECT_EQ(record.time_of_step.at(2), 0.9);
  EXPECT_EQ(record.n_problems, 0);
}

TEST(Run, LeavesOutADamagedLineAndNamesIt) {
  const RunForTest run;
  run.write("metrics.jsonl", std::string(kLine) + "{\"step\":2,\"metr\n" +
                                 "{\"step\":3,\"metrics\":{\"samples\":\"x\"}}\n[1]\n" + kLine);
  RunReader reader(run.root());
  const RunRecord& record = reader.update();

  EXPECT_EQ(record.n_problems, 3);
  EXPECT_THAT(record.problems[0], HasSubstr("metrics.jsonl:2: not JSON"));
  EXPECT_THAT(record.problems[1], HasSubstr("metrics.jsonl:3: metric samples is neither"));
  EXPECT_THAT(record.problems[2], HasSubstr("metrics.jsonl:4"));
  EXPECT_THAT(record.curves.at("samples").steps, ElementsAre(1));
}

TEST(Run, WaitsForTheEndOfALineThatIsBeingWritten) {
  const RunForTest run;
  run.write("metrics.jsonl", std::string(kLine) + "{\"step\":2,\"time_s\":1,\"met");
  RunReader reader(run.root());
  EXPECT_THAT(reader.update().curves.at("samples").steps, ElementsAre(1));

  run.append("metrics.jsonl", "rics\":{\"samples\":9}}\n");
  const RunRecord& record = reader.update();

  EXPECT_THAT(record.curves.at("samples").steps, ElementsAre(1, 2));
  EXPECT_EQ(record.n_problems, 0);
}

TEST(Run, BeginsAgainWhenAResumedRunCutTheFile) {
  const RunForTest run;
  run.write("metrics.jsonl", std::string(kLine) + "{\"step\":2,\"metrics\":{\"samples\":9}}\n");
  RunReader reader(run.root());
  reader.update();

  run.write("metrics.jsonl", kLine);

  EXPECT_THAT(reader.update().curves.at("samples").steps, ElementsAre(1));
}

TEST(Run, CountsEqualWarningsAndFindsTheEnding) {
  RunRecord record;
  add_log(record,
          "2026-01-02T03:04:05.678 warning slow\n2026-01-02T03:04:06.678 warning slow\n"
          "2026-01-02T03:04:07.678 error broke\nsecond line\n"
          "2026-01-02T03:04:08.678 info exit code 0 (done)\n");

  ASSERT_EQ(record.log.size(), 2U);
  EXPECT_EQ(record.log[0].count, 2);
  EXPECT_EQ(record.log[1].text, "broke\nsecond line");
  EXPECT_EQ(record.ending, "exit code 0 (done)");
}

TEST(Run, RefusesADirectoryThatIsNoRun) {
  const RunForTest run;
  EXPECT_THROW(RunReader(run.root() / "samples"), ConfigError);
  EXPECT_THROW(RunReader(run.root() / "not there"), ConfigError);
  EXPECT_THROW(RunReader(run.root() / "config.cfg"), ConfigError);
}

}  // namespace
}  // namespace orrery::report
