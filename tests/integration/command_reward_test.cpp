// Rewards by a program of the user's, in whole runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "algorithm/processes_for_test.h"
#include "integration/runs_for_test.h"

namespace orrery::integration {
namespace {

/// A run whose rewards come from this Python program.
Result run_with(const TemporaryFolder& folder, const std::string& program,
                const std::string& more = "") {
  std::ofstream(folder / "judge.py") << program;
  return orrery(3, tiny(folder,
                        "--set call.reward.interface=command_reward "
                        "--set call.reward.command=\"python3 -u " +
                            (folder / "judge.py").string() + "\" " + more));
}

/// The reward is the parity of the answer's length: known from the samples that a run writes down.
constexpr const char* kJudge = R"(
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    reward = len(question["response"]) % 2
    print(json.dumps({"id": question["id"], "reward": reward}), flush=True)
)";

TEST(CommandReward, GivesTheRewardsOfARun) {
  const TemporaryFolder folder;

  const Result result = run_with(folder, kJudge);

  ASSERT_EQ(result.exit_code, 0) << result.output;
  const auto samples = read_jsonl(folder / "grpo_tiny/samples/step-00000002-rank-1.jsonl");
  ASSERT_FALSE(samples.empty());
  for (const auto& sample : samples) {
    EXPECT_EQ(sample["reward"].get<double>(),
              static_cast<double>(sample["response"].get<std::string>().size() % 2))
        << sample;
  }
  EXPECT_EQ(values_of(folder / "grpo_tiny", "actor_train/task_reward").size(), 4u);
  EXPECT_EQ(last_value(folder / "grpo_tiny", "reward/command_restarts"), 0);
}

TEST(CommandReward, IsStartedAgainWhenItDiesAndTheRunIsTheSame) {
  const TemporaryFolder steady, dying;
  ASSERT_EQ(run_with(steady, kJudge).exit_code, 0);
  std::string program = kJudge;
  program.insert(program.find("    reward"),
                 "    if hash(line) % 10 == 0: sys.exit(1)\n");  // differs from start to start

  const Result result = run_with(dying, program, "--set call.reward.restarts=1000");

  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(values_of(steady / "grpo_tiny", "actor_train/loss"),
            values_of(dying / "grpo_tiny", "actor_train/loss"));
}

TEST(CommandReward, ThatAlwaysDiesEndsTheJobWithAMessageAndNoProcess) {
  const TemporaryFolder folder;

  const Result result = run_with(folder, "import sys\nsys.stdin.readline()\nsys.exit(9)\n");

  EXPECT_EQ(result.exit_code, 3) << result.output;
  for (const char* text : {"judge.py", "started again 3 times", "exited with status 9"}) {
    EXPECT_NE(result.output.find(text), std::string::npos) << text << " in " << result.output;
  }
  EXPECT_TRUE(algorithm::all_gone((folder / "judge.py").string()));
}

TEST(CommandReward, ThatHangsEndsTheJobAfterItsTimeout) {
  const TemporaryFolder folder;

  const Result result =
      run_with(folder, "import time\ntime.sleep(1000)\n",
               "--set call.reward.timeout_seconds=1 --set call.reward.restarts=0");

  EXPECT_EQ(result.exit_code, 3) << result.output;
  EXPECT_NE(result.output.find("no answer for 1 s"), std::string::npos) << result.output;
  EXPECT_TRUE(algorithm::all_gone((folder / "judge.py").string()));
}

}  // namespace
}  // namespace orrery::integration
