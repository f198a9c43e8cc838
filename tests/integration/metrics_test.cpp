// What whole runs write beside what the list of metrics says, and what a run leaves in its log and
// its samples. One worker each: names do not depend on the layout.
#include <gtest/gtest.h>

#include <cstdlib>  // setenv
#include <set>

#include "integration/runs_for_test.h"
#include "orrery/metrics/metric_list.h"

namespace orrery::integration {
namespace {

namespace fs = std::filesystem;

std::string shipped(const std::string& name, const TemporaryFolder& folder,
                    const std::string& more) {
  return "train " + source("configs/" + name + ".cfg") +
         " --set experiment.output_dir=" + folder.path().string() + " " + more;
}

std::string text_of(const fs::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// An evaluation set with a name, in a run of its own.
std::string sets_of(const std::string& dataset, const std::string& run) {
  return "--set evaluate.dataset= --set evaluate.sets=" + dataset +
         " --set experiment.name=" + run + " ";
}

TEST(MetricList, IsWhatRunsOfAllGraphsWrite) {
  const TemporaryFolder folder;
  const std::string small =
      "--set experiment.total_steps=2 --set export.at_end=false --set evaluate.max_prompts=4 ";
  const std::pair<const char*, std::string> runs[] = {
      {"grpo_tiny", small + "--set call.actor_train.n_minibatches=2 "
                            "--set call.reward.log_return_value=true"},
      {"ppo_tiny", small + judged(folder) +
                       "--set call.actor_train.recompute_log_probs=true "
                       "--set call.actor_train.kl_loss=0.1 "
                       "--set call.actor_train.early_stop_kl=1000 "
                       "--set call.actor_train.best_of=1 --set call.critic_train.best_of=1"},
      {"sft_arithmetic", small + "--set call.sft.n_seqs=16 --set model.actor.hidden_size=32 "
                                 "--set evaluate.at_start=true "
                                 "--set model.actor.intermediate_size=64 "
                                 "--set dataset.eval.kind=completions "
                                 "--set evaluate.stop_at_accuracy=0"},
      {"dpo_tiny", small},
      {"reward_model_tiny", small},
      {"distill_tiny", "--set experiment.total_steps=2 --set export.at_end=false"},
      {"distill_full_tiny", "--set experiment.total_steps=2 --set export.at_end=false"},
      {"grpo_tiny", small +
                        "--set experiment.name=format --set call.reward.interface=format_reward "
                        "--set call.reward.pattern=^.*$ "
                        "--set call.reward.inputs=packed_input_ids,prompt_mask"},
      {"grpo_judge_tiny", "--set experiment.total_steps=2 --set export.at_end=false"},
      {"grpo_tiny", small + sets_of("eval", "grpo_sets")},
      {"sft_arithmetic", small +
                             "--set call.sft.n_seqs=16 --set model.actor.hidden_size=32 "
                             "--set model.actor.intermediate_size=64 "
                             "--set dataset.eval.kind=completions "
                             "--set evaluate.stop_at_accuracy=0 " +
                             sets_of("eval", "sft_sets")},
      {"dpo_tiny", small + sets_of("train", "dpo_sets")},
  };
  std::set<std::string> written;
  for (const auto& [name, more] : runs) {
    const Result result = orrery(2, shipped(name, folder, more));
    ASSERT_EQ(result.exit_code, 0) << result.output;
  }
  for (const auto& run : fs::directory_iterator(folder.path())) {
    if (!fs::exists(run.path() / "metrics.jsonl")) continue;
    for (const auto& row : read_jsonl(run.path() / "metrics.jsonl")) {
      for (const auto& [metric, value] : row.at("metrics").items()) written.insert(metric);
    }
  }

  std::set<const metrics::Metric*> seen;
  for (const std::string& name : written) {
    const std::vector<const metrics::Metric*> rows = metrics::metrics_named(name);
    EXPECT_FALSE(rows.empty()) << name << " has no row in src/metrics/metric_list.cpp";
    seen.insert(rows.begin(), rows.end());
  }
  for (const metrics::MetricSection& section : metrics::metric_list()) {
    for (const metrics::Metric& metric : section.metrics) {
      EXPECT_TRUE(seen.contains(&metric) || !metric.when.empty())
          << metric.name << " of " << metric.source << " is in the list, but no run wrote it";
    }
  }
}

TEST(Diagnostics, OfARunTellHowItWentAndWhereItsSamplesComeFrom) {
  const TemporaryFolder folder;

  const Result result = orrery(2, tiny(folder, "--set export.at_end=false " + judged(folder)));

  ASSERT_EQ(result.exit_code, 0) << result.output;
  const fs::path run = folder / "grpo_tiny";
  const std::string log = text_of(run / "log.txt");
  for (const char* part : {", 1 worker\n", "step 4/4 ", "evaluation after step 0: eval/accuracy ",
                           "where the time went: 4 steps in ", "\nactor_train ",
                           "finished after step 4 (total_steps reached), ", "exit code 0 (done)"}) {
    EXPECT_NE(log.find(part), std::string::npos) << part << "\nis not in\n" << log;
  }
  EXPECT_NE(result.output.find("where the time went: 4 steps in "), std::string::npos);

  const auto records = read_jsonl(source("configs/data/tiny.jsonl"));
  const auto samples = read_jsonl(run / "samples/step-00000001-rank-0.jsonl");
  ASSERT_FALSE(samples.empty());
  double sum = 0, squares = 0;
  for (const auto& sample : samples) {
    EXPECT_EQ(sample.at("dataset"), "train");
    const auto& record = records.at(sample.at("record").at("line").get<size_t>() - 1);
    EXPECT_EQ(sample.at("prompt"), record.at("prompt"));
    EXPECT_EQ(sample.at("record").at("id"), record.at("id"));
    sum += sample.at("reward").get<double>();
    squares += std::pow(sample.at("reward").get<double>(), 2);
  }
  const auto n = static_cast<double>(samples.size());
  EXPECT_NEAR(values_of(run, "reward/reward").at(0), sum / n, 1e-6);
  EXPECT_NEAR(values_of(run, "reward/reward_std").at(0),
              std::sqrt(squares / n - std::pow(sum / n, 2)), 1e-5);
  EXPECT_EQ(values_of(run, "reward/dataset/train/reward").at(0),
            values_of(run, "reward/reward").at(0));
  EXPECT_NEAR(values_of(run, "actor_gen/dataset/train/response_length").at(0),
              values_of(run, "actor_gen/response_length").at(0), 1e-9);
  for (const double share : values_of(run, "reward/uniform_group_ratio")) {
    EXPECT_GE(share, 0);
    EXPECT_LT(share, 1);
  }
}

TEST(Diagnostics, OfARunThatFailsSayTheErrorOfAllWorkersOnceAndInItsLog) {
  const TemporaryFolder folder;

  ::setenv("ORRERY_FAULT", "worker.handle:memory:4", 1);  // evaluation, load, generation, reward
  const Result result = orrery(3, tiny(folder));
  ::unsetenv("ORRERY_FAULT");

  EXPECT_EQ(result.exit_code, 3) << result.output;
  const std::string log = text_of(folder / "grpo_tiny/log.txt");
  for (const std::string& text : {result.output, log}) {
    const size_t first = text.find("call reward, inference: ");
    ASSERT_NE(first, std::string::npos) << text;
    EXPECT_EQ(text.find("call reward, inference: ", first + 1), std::string::npos) << text;
    EXPECT_NE(text.find("(the same from worker "), std::string::npos) << text;
    EXPECT_NE(text.find("exit code 3 (a call failed)"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace orrery::integration
