// PPO, reward models and DPO in whole runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "integration/runs_for_test.h"

namespace orrery::integration {
namespace {

namespace fs = std::filesystem;

/// Arguments of a run of configs/NAME.cfg into `folder`.
std::string shipped(const std::string& name, const TemporaryFolder& folder,
                    const std::string& more = "") {
  return "train " + source("configs/" + name + ".cfg") +
         " --set experiment.output_dir=" + folder.path().string() + " " + more;
}

/// What the training of each step said, for actor and critic.
std::vector<double> training_numbers(const fs::path& run) {
  std::vector<double> all;
  for (const char* metric :
       {"actor_train/loss", "actor_train/grad_norm", "actor_train/task_reward",
        "actor_train/ref_divergence", "critic_train/loss", "critic_train/grad_norm",
        "critic_train/value_norm_std", "critic_train/returns"}) {
    for (const double value : values_of(run, metric)) all.push_back(value);
  }
  return all;
}

TEST(Ppo, OfFourRolesTrainsActorAndCritic) {
  const TemporaryFolder folder;

  const Result result = orrery(3, shipped("ppo_tiny", folder, judged(folder)));

  ASSERT_EQ(result.exit_code, 0) << result.output;
  const fs::path run = folder / "ppo_tiny";
  EXPECT_EQ(training_numbers(run).size(), 8u * 4);
  EXPECT_LT(last_value(run, "critic_train/loss"), values_of(run, "critic_train/loss").front());
  for (const char* role : {"actor", "critic"}) {
    EXPECT_TRUE(fs::exists(run / "models/latest" / role / "model.safetensors")) << role;
  }
}

TEST(Ppo, GivesTheSameNumbersInALayoutOfItsOwnForEachCall) {
  const TemporaryFolder folder;
  // One minibatch: how sequences are dealt into several depends on the data ranks.
  const std::string common = judged(folder) +
                             "--set model.actor.dtype=fp64 --set model.critic.dtype=fp64 "
                             "--set model.ref.dtype=fp64 --set call.actor_train.n_minibatches=1 "
                             "--set call.critic_train.n_minibatches=1 --set export.at_end=false ";
  ASSERT_EQ(orrery(2, shipped("ppo_tiny", folder,
                              common + "--set experiment.name=one --set "
                                       "layout.default=d1t1p1@0"))
                .exit_code,
            0);
  const std::vector<double> expected = training_numbers(folder / "one");
  ASSERT_EQ(expected.size(), 8u * 4);

  for (const char* name : {"ppo_disjoint", "ppo_layouts"}) {
    SCOPED_TRACE(name);
    const Result result = orrery(5, shipped(name, folder, common), 120);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    const std::vector<double> got = training_numbers(folder / name);
    ASSERT_EQ(got.size(), expected.size());
    // Samples keep log-probabilities, values and rewards in fp32.
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_NEAR(got[i], expected[i], 1e-5 * std::max(1.0, std::abs(expected[i]))) << i;
    }
  }
}

/// Begin and end of a call's handles on one worker, in microseconds, in order.
std::vector<std::pair<double, double>> handles_of(const fs::path& trace, const std::string& call) {
  std::ifstream file(trace);
  std::vector<std::pair<double, double>> spans;
  for (std::string line; std::getline(file, line);) {  // an event a line; the list never ends
    if (!line.starts_with("{")) continue;
    if (line.ends_with(",")) line.pop_back();
    const auto event = nlohmann::json::parse(line);
    if (event.value("ph", "") != "X" || event.value("name", "") != call) continue;
    const auto begin = event["ts"].get<double>();
    spans.emplace_back(begin, begin + event["dur"].get<double>());
  }
  return spans;
}

TEST(Ppo, RunsCallsAtTheSameTimeWhereTheGraphAllowsIt) {
  const TemporaryFolder folder;
  ASSERT_EQ(orrery(5, shipped("ppo_disjoint", folder,
                              "--set experiment.total_steps=12 --set call.actor_gen.n_seqs=32 "
                              "--set call.reward.n_seqs=32 --set call.ref_inf.n_seqs=32 "
                              "--set call.critic_inf.n_seqs=32 --set call.actor_train.n_seqs=32 "
                              "--set call.critic_train.n_seqs=32"))
                .exit_code,
            0);
  const auto actor = handles_of(folder / "ppo_disjoint/trace/worker-0.json", "actor_train");
  const auto critic = handles_of(folder / "ppo_disjoint/trace/worker-2.json", "critic_train");
  ASSERT_EQ(actor.size(), 12u);
  ASSERT_EQ(critic.size(), 12u);

  int n_overlapping = 0;
  for (size_t i = 0; i < actor.size(); ++i) {
    if (actor[i].first < critic[i].second && critic[i].first < actor[i].second) ++n_overlapping;
  }

  EXPECT_GE(n_overlapping, 6) << "of 12 steps";
}

TEST(RewardModel, TrainedHereGivesTheRewardsOfPpo) {
  const TemporaryFolder folder;
  const Result trained = orrery(3, shipped("reward_model_tiny", folder));
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  const fs::path reward_run = folder / "reward_model_tiny";
  EXPECT_LT(last_value(reward_run, "reward_train/loss"), 0.6) << "ln 2 is to know nothing";
  EXPECT_GT(last_value(reward_run, "eval/preference_accuracy"), 0.7);

  const Result result = orrery(
      3, shipped("ppo_reward_model", folder,
                 "--set model.reward.path=" + (reward_run / "models/latest/reward").string()));

  ASSERT_EQ(result.exit_code, 0) << result.output;
  const auto samples = read_jsonl(folder / "ppo_reward_model/samples/step-00000001-rank-0.jsonl");
  ASSERT_FALSE(samples.empty());
  double sum = 0;
  for (const auto& sample : samples) sum += std::abs(sample["reward"].get<double>());
  EXPECT_GT(sum, 0);
}

TEST(RewardModel, LearnsTheSameOnTensorRanksAndAPipeline) {
  const TemporaryFolder folder;
  std::vector<std::vector<double>> losses;
  for (const char* layout : {"d1t1p1@0", "d1t2p2@0-3"}) {
    const std::string name = "run" + std::to_string(losses.size());
    const Result result =
        orrery(5, shipped("reward_model_tiny", folder,
                          "--set experiment.total_steps=5 --set model.reward.dtype=fp64 --set "
                          "experiment.name=" +
                              name + " --set layout.default=" + layout));
    ASSERT_EQ(result.exit_code, 0) << result.output;
    losses.push_back(values_of(folder / name, "reward_train/loss"));
  }
  ASSERT_EQ(losses[0].size(), 5u);
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(losses[0][i], losses[1][i], 1e-9);
}

TEST(Dpo, PrefersTheBetterAnswersMoreAndMore) {
  const TemporaryFolder folder;

  const Result result =
      orrery(3, shipped("dpo_tiny", folder,
                        "--set experiment.total_steps=30 --set model.actor.lr=3e-3 "
                        "--set call.dpo.n_seqs=32 --set call.ref_inf.n_seqs=32"));

  ASSERT_EQ(result.exit_code, 0) << result.output;
  const std::vector<double> losses = values_of(folder / "dpo_tiny", "dpo/loss");
  EXPECT_NEAR(losses.front(), std::log(2.0), 1e-4) << "actor and reference are one at first";
  EXPECT_LT(losses.back(), 0.55);
  EXPECT_GT(last_value(folder / "dpo_tiny", "dpo/accuracy"), 0.7);
}

TEST(Dpo, RefusesDataThatHasNoPairs) {
  const TemporaryFolder folder;

  const Result result = orrery(
      3,
      shipped("dpo_tiny", folder, "--set dataset.train.path=" + source("configs/data/tiny.jsonl")));

  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find("field \"chosen\" is missing"), std::string::npos) << result.output;
}

}  // namespace
}  // namespace orrery::integration
