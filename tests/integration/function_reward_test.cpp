// Rewards by a Python function of the user's, in whole runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "algorithm/processes_for_test.h"
#include "integration/runs_for_test.h"

namespace orrery::integration {
namespace {

using testing::HasSubstr;

/// The reward and its parts can be told from the samples that a run writes down.
constexpr const char* kFunction = R"(
import os
def reward(records):
    rewards = []
    for record in records:
        first, second = map(int, record["id"].split("/"))
        assert record["rendered_prompt"] == record["prompt"] and record["dataset"] == "train", record
        if (first + second) % 5 == 0:
            raise ValueError("every fifth")
        text = record["response"]
        mark = os.path.join(os.path.dirname(__file__), "marks", record["id"].replace("/", "-"))
        if (first + second) % 7 == 0 and os.path.isdir(os.path.dirname(mark)) and not os.path.exists(mark):
            open(mark, "w").close()  # whoever asks twice about it gets another training
            os._exit(1)
        total = sum(map(ord, text)) % 7 / 3 - 1
        rewards.append({"reward": total, "length": len(text)})
    return rewards
)";

std::string with_function(const std::string& where, const std::string& more = "") {
  return "--set call.reward.interface=command_reward --set call.reward.function=" + where + " " +
         more;
}

Result run_with(const TemporaryFolder& folder, const std::string& more = "",
                const std::string& environment = "") {
  std::ofstream(folder / "judge.py") << kFunction;
  return run(
      environment +
          " OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
          "PMIX_MCA_psec=native OMP_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1 mpirun "
          "--oversubscribe -n 3 " +
          ORRERY_PROGRAM + " " +
          tiny(folder, with_function((folder / "judge.py").string() + ":reward",
                                     "--set call.reward.max_failed_share_20_steps=0.5 " + more)),
      120);
}

TEST(FunctionReward, GivesTheRewardsOfARunWithTheirParts) {
  const TemporaryFolder folder;

  const Result result = run_with(folder);

  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("ValueError: every fifth"));
  const auto samples = read_jsonl(folder / "grpo_tiny/samples/step-00000002-rank-1.jsonl");
  ASSERT_FALSE(samples.empty());
  for (const auto& sample : samples) {
    const bool is_fifth = (sample["id"].get<int>() + sample["member"].get<int>()) % 5 == 0;
    EXPECT_EQ(sample.value("failed", ""), is_fifth ? "raised" : "") << sample;
    EXPECT_TRUE(is_fifth || sample["parts"]["length"].is_number()) << sample;
  }
  EXPECT_EQ(values_of(folder / "grpo_tiny", "reward/reward/length").size(), 4u);
  EXPECT_EQ(last_value(folder / "grpo_tiny", "reward/command_restarts"), 0);
  EXPECT_TRUE(algorithm::all_gone((folder / "judge.py").string()));
}

TEST(FunctionReward, TrainsTheSameWhateverTheBatchesAndProcesses) {
  const TemporaryFolder folder;
  ASSERT_EQ(run_with(folder, "--set experiment.name=one").exit_code, 0);

  const Result result = run_with(folder,
                                 "--set experiment.name=other --set call.reward.batch_size=3 "
                                 "--set call.reward.concurrency=2");

  ASSERT_EQ(result.exit_code, 0) << result.output;
  for (const char* metric : {"actor_train/loss", "actor_train/grad_norm", "reward/reward"}) {
    EXPECT_EQ(values_of(folder / "one", metric), values_of(folder / "other", metric)) << metric;
  }
}

/// Begin and end of the spans of a trace, in microseconds.
std::vector<std::pair<int64_t, int64_t>> spans_of(const std::filesystem::path& trace,
                                                  const std::string& name) {
  std::ifstream file(trace);
  std::vector<std::pair<int64_t, int64_t>> spans;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("{")) continue;
    if (line.ends_with(",")) line.pop_back();
    const auto event = nlohmann::json::parse(line);
    if (event["ph"] != "X" || event["name"] != name) continue;
    const auto begin = event["ts"].get<int64_t>();
    spans.emplace_back(begin, begin + event["dur"].get<int64_t>());
  }
  return spans;
}

TEST(FunctionReward, JudgesAnswersWhileOthersAreGeneratedAndTheRunIsTheSame) {
  const TemporaryFolder folder;
  const std::string slowly =
      "--set call.actor_gen.max_new_tokens=120 --set call.actor_gen.max_batch=2 "
      "--set call.reward.batch_size=2 --set experiment.name=";
  ASSERT_EQ(run_with(folder, slowly + "late --set call.reward.while_generating=false").exit_code,
            0);

  const Result result = run_with(folder, slowly + "early");

  ASSERT_EQ(result.exit_code, 0) << result.output;
  for (const char* metric : {"actor_train/loss", "actor_train/grad_norm", "reward/reward",
                             "reward/failed/raised", "reward/reward/length"}) {
    EXPECT_EQ(values_of(folder / "late", metric), values_of(folder / "early", metric)) << metric;
  }
  EXPECT_EQ(last_value(folder / "late", "time/reward/judged_early_share"), 0);
  // How many depends on how busy the machine is.
  const std::vector<double> shares = values_of(folder / "early", "time/reward/judged_early_share");
  EXPECT_GT(*std::max_element(shares.begin(), shares.end()), 0);
  for (const char* worker : {"trace/worker-0.json", "trace/worker-1.json"}) {
    const auto generation = spans_of(folder / "early" / worker, "actor_gen");
    const auto last_answers = spans_of(folder / "early" / worker, "reward: last answers");
    const auto judging = spans_of(folder / "early" / worker, "reward: while generating");
    ASSERT_EQ(judging.size(), generation.size());
    for (size_t i = 0; i < judging.size(); ++i) {
      EXPECT_GT(judging[i].first, generation[i].first);
      EXPECT_LT(judging[i].first, last_answers[i].first) << "before the last token was drawn";
    }
    EXPECT_TRUE(spans_of(folder / "late" / worker, "reward: while generating").empty());
  }
}

TEST(FunctionReward, IsTheSameInLayoutsWhereAnotherWorkerJudgesOrHasTheAnswers) {
  const TemporaryFolder folder;
  const std::string all = "--set model.actor.dtype=fp64 --set export.at_end=false ";
  ASSERT_EQ(run_with(folder, all + "--set experiment.name=both").exit_code, 0);
  const std::vector<double> expected = values_of(folder / "both", "actor_train/loss");
  ASSERT_EQ(expected.size(), 4u);
  const std::pair<const char*, const char*> layouts[] = {
      {"d1t2p1@0-1", "d2t1p1@0-1"}, {"d1t1p2@0-1", "d2t1p1@0-1"}, {"d1t1p1@0", "d1t1p1@1"}};
  for (const auto& [generation, reward] : layouts) {
    SCOPED_TRACE(generation);

    const Result result = run_with(
        folder, all + "--set experiment.name=other --set call.actor_gen.layout=" + generation +
                    " --set call.reward.layout=" + reward);

    ASSERT_EQ(result.exit_code, 0) << result.output;
    const std::vector<double> got = values_of(folder / "other", "actor_train/loss");
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-9) << i;
  }
}

TEST(FunctionReward, AResumedRunIsTheSameBitForBit) {
  const TemporaryFolder folder;
  const std::string steps =
      "--set experiment.total_steps=8 --set checkpoint.every_steps=3 --set call.reward.restarts=0 ";
  const auto run_named = [&](const std::string& name, const std::string& environment = "") {
    std::filesystem::remove_all(folder / "marks");
    return run_with(folder, steps + "--set experiment.name=" + name, environment);
  };
  ASSERT_EQ(run_named("whole").exit_code, 0);

  EXPECT_NE(run_named("cut", "ORRERY_FAULT=checkpoint.data:kill:1").exit_code, 0);
  EXPECT_NE(run_named("cut", "ORRERY_FAULT=checkpoint.rename:kill:2").exit_code, 0);
  const Result last = run_named("cut");

  ASSERT_EQ(last.exit_code, 0) << last.output;
  EXPECT_THAT(last.output, HasSubstr("goes on after step 3"));
  for (const char* metric :
       {"actor_train/loss", "actor_train/grad_norm", "reward/reward", "reward/reward/length",
        "reward/failed/raised", "actor_train/left_out_answers"}) {
    EXPECT_EQ(values_of(folder / "whole", metric), values_of(folder / "cut", metric)) << metric;
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder / "whole/samples")) {
    EXPECT_EQ(read_jsonl(entry.path()),
              read_jsonl(folder / "cut/samples" / entry.path().filename()));
  }
}

TEST(CombinedReward, AddsTheRewardsOfTwoCallsWithTheirWeights) {
  const TemporaryFolder folder;
  const std::string configuration = (folder / "run.cfg").string();
  const std::string call =
      "model = rule\nkind = inference\nn_seqs = 8\ninputs = packed_input_ids, prompt_mask, "
      "answers\n";
  std::ofstream(configuration) << "include = " << source("configs/grpo_tiny.cfg")
                               << "\n[experiment]\noutput_dir = " << folder.path().string()
                               << "\n[call.sum]\n"
                               << call << "interface = rule_reward\noutputs = rewards:sum\n"
                               << "[call.form]\n"
                               << call << "interface = format_reward\npattern = [0-9a-m]\n"
                               << "outputs = rewards:form\n"
                               << "[call.reward]\ninterface = combined_reward\n"
                               << "rewards = sum:1, form:0.25\n"
                               << "inputs = packed_input_ids, prompt_mask, answers, sum, form\n";

  const Result result = orrery(3, "train " + configuration);

  ASSERT_EQ(result.exit_code, 0) << result.output;
  const auto form = values_of(folder / "grpo_tiny", "reward/reward/form");
  ASSERT_EQ(form.size(), 4u);
  EXPECT_EQ(form, values_of(folder / "grpo_tiny", "form/reward"));
  const auto sum = values_of(folder / "grpo_tiny", "reward/reward/sum");
  const auto both = values_of(folder / "grpo_tiny", "actor_train/task_reward");
  for (size_t i = 0; i < both.size(); ++i) EXPECT_NEAR(both[i], sum[i] + form[i] / 4, 1e-6);
}

TEST(FunctionReward, ThatCannotBeUsedIsRefusedBeforeTheRunWithFileAndLine) {
  const TemporaryFolder folder;
  std::ofstream(folder / "broken.py") << "import no_such_module\n";
  std::ofstream(folder / "fine.py") << "def reward(records):\n    return [0] * len(records)\n";
  const std::pair<std::string, std::vector<const char*>> cases[] = {
      {"broken.py:reward", {"No module named", "no_such_module"}},
      {"fine.py:rewards", {"has no function rewards; it has reward"}},
      {"missing.py:reward", {"no such file", "missing.py"}},
      {"fine.py", {"must be FILE.py:NAME"}}};
  for (const auto& [function, texts] : cases) {
    const std::string configuration = (folder / "run.cfg").string();
    std::ofstream(configuration) << "include = " << source("configs/grpo_tiny.cfg")
                                 << "\n[experiment]\noutput_dir = " << folder.path().string()
                                 << "\n[call.reward]\ninterface = command_reward\nfunction = "
                                 << function << "\n";

    const Result result = orrery(3, "train " + configuration);

    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr("run.cfg:6")) << "with the line";
    for (const char* text : texts) EXPECT_THAT(result.output, HasSubstr(text));
    EXPECT_FALSE(std::filesystem::exists(folder / "grpo_tiny"));
  }
}

}  // namespace
}  // namespace orrery::integration
