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

TEST(CommandReward, ThatIsBrokenEndsTheJobSoonWithItsLastWordsAndNoProcess) {
  struct Broken {
    const char* program;
    const char* timeout_seconds;  // short only where it is waited for: a busy machine is slow
    std::vector<const char*> texts;
  };
  const Broken cases[] = {{"import sys\nsys.stdin.readline()\nsys.exit(9)\n",
                           "60",
                           {"any of the first 8 questions", "exited with status 9"}},
                          {"import no_such_module\n",
                           "60",
                           {"without reading a question", "exited with status 1",
                            "ends with: Traceback", "No module named"}},
                          {"import time\ntime.sleep(1000)\n",
                           "1",
                           {"read no question for 5 s", "raise timeout_seconds"}},
                          {"import sys\nfor line in sys.stdin: print(1.0, flush=True)\n",
                           "60",
                           {"any of the first 8 questions", "not {\"reward\": number}", "1.0"}}};
  for (const auto& [program, timeout_seconds, texts] : cases) {
    const TemporaryFolder folder;

    const Result result =
        run_with(folder, program,
                 std::string("--set call.reward.timeout_seconds=") + timeout_seconds +
                     " --set call.reward.restarts=0 "
                     "--set call.reward.max_failed_share=0.4");

    EXPECT_EQ(result.exit_code, 3) << program << result.output;
    EXPECT_NE(result.output.find("judge.py"), std::string::npos) << result.output;
    for (const char* text : texts) {
      EXPECT_NE(result.output.find(text), std::string::npos) << text << " in " << result.output;
    }
    EXPECT_TRUE(algorithm::all_gone((folder / "judge.py").string()));
  }
}

/// Dies at every third answer the first time that it is asked about it, and never again: whoever
/// asks twice gets another training. Marks are kept in the folder that is its argument.
constexpr const char* kForgetful = R"(
import json, os, sys
for line in sys.stdin:
    question = json.loads(line)
    first, second = map(int, question["id"].split("/"))
    mark = os.path.join(sys.argv[1], "%d-%d" % (first, second))
    if (first + second) % 3 == 0 and not os.path.exists(mark):
        open(mark, "w").close()
        os._exit(1)
    reward = sum(map(ord, question["response"])) % 7 / 3 - 1
    print(json.dumps({"id": question["id"], "reward": reward}), flush=True)
)";

/// Ten steps with a checkpoint after every third.
Result forgetful_run(const TemporaryFolder& folder, const std::string& name,
                     const std::string& environment = "") {
  std::filesystem::create_directory(folder / (name + "-marks"));
  return run(
      environment +
          " OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PMIX_MCA_psec=native "
          "OMP_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1 mpirun --oversubscribe -n 3 " +
          ORRERY_PROGRAM + " " +
          tiny(folder,
               "--set call.reward.interface=command_reward --set "
               "call.reward.command=\"python3 -u " +
                   (folder / "judge.py").string() + " " + (folder / (name + "-marks")).string() +
                   "\" --set call.reward.restarts=0 "
                   "--set experiment.name=" +
                   name +
                   " --set experiment.total_steps=10 "
                   "--set checkpoint.every_steps=3 "),
      90);
}

TEST(CommandReward, AResumedRunDecidesNothingTwice) {
  const TemporaryFolder folder;
  std::ofstream(folder / "judge.py") << kForgetful;
  ASSERT_EQ(forgetful_run(folder, "whole").exit_code, 0);

  // Before there is a checkpoint; behind one, when answers of later steps are decided. Never while
  // a question is asked: what the job had not heard of when it was killed it must ask again.
  EXPECT_NE(forgetful_run(folder, "cut", "ORRERY_FAULT=worker.train_step:kill:2").exit_code, 0);
  EXPECT_NE(forgetful_run(folder, "cut", "ORRERY_FAULT=worker.train_step:kill:8").exit_code, 0);
  const Result last = forgetful_run(folder, "cut");

  ASSERT_EQ(last.exit_code, 0) << last.output;
  EXPECT_NE(last.output.find("as before the run was resumed"), std::string::npos) << last.output;
  EXPECT_NE(last.output.find("goes on after step "), std::string::npos) << last.output;
  for (const char* metric :
       {"actor_train/loss", "actor_train/grad_norm", "reward/reward", "reward/failed/died",
        "reward/command_restarts", "actor_train/left_out_answers"}) {
    EXPECT_EQ(values_of(folder / "whole", metric), values_of(folder / "cut", metric)) << metric;
  }
  const std::vector<double> died = values_of(folder / "whole", "reward/failed/died");
  EXPECT_EQ(died.size(), 10u);
  EXPECT_GE(*std::min_element(died.begin(), died.end()), 1);
  size_t n_marked = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "whole/samples")) {
    const auto samples = read_jsonl(entry.path());
    EXPECT_EQ(samples, read_jsonl(folder / "cut/samples" / entry.path().filename()));
    for (const auto& sample : samples) {
      const bool is_third = (sample["id"].get<int>() + sample["member"].get<int>()) % 3 == 0;
      EXPECT_EQ(sample.value("failed", "") == "died", is_third) << sample;
      EXPECT_EQ(sample["reward"].is_null(), is_third) << sample;
      n_marked += is_third ? 1 : 0;
    }
  }
  EXPECT_GT(n_marked, 20u);
}

}  // namespace
}  // namespace orrery::integration
