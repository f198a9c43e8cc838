// Whole runs on a master and two workers, as users start them.
#include <gtest/gtest.h>

#include <set>

#include "integration/runs_for_test.h"

namespace orrery::integration {
namespace {

namespace fs = std::filesystem;

TEST(Train, LeavesACompleteRunDirectory) {
  const TemporaryFolder folder;

  const Result result = orrery(3, tiny(folder));

  ASSERT_EQ(result.exit_code, 0) << result.output;
  const fs::path run = folder / "grpo_tiny";
  for (const char* name :
       {"config.cfg", "log.txt", "metrics.jsonl", "trace/worker-0.json", "trace/worker-1.json",
        "samples/step-00000001-rank-0.jsonl", "samples/step-00000004-rank-1.jsonl",
        "models/latest/actor/config.json", "models/latest/actor/model.safetensors"}) {
    EXPECT_TRUE(fs::exists(run / name)) << name;
  }
  EXPECT_FALSE(fs::is_empty(run / "tensorboard"));
}

TEST(Train, WritesOneObjectALineWithTheDocumentedFields) {
  const TemporaryFolder folder;
  ASSERT_EQ(orrery(3, tiny(folder)).exit_code, 0);

  std::set<int64_t> steps;
  std::set<std::string> calls;
  for (const auto& row : read_jsonl(folder / "grpo_tiny/metrics.jsonl")) {
    steps.insert(row.at("step").get<int64_t>());
    EXPECT_GE(row.at("time_s").get<double>(), 0);
    if (!row.at("call").is_null()) calls.insert(row["call"].get<std::string>());
    EXPECT_TRUE(row.at("metrics").is_object());
  }

  EXPECT_EQ(steps, (std::set<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(calls, (std::set<std::string>{"actor_gen", "reward", "actor_train"}));
}

TEST(Train, GivesTheSameNumbersTwice) {
  const TemporaryFolder folder;
  ASSERT_EQ(orrery(3, tiny(folder, "--set experiment.name=a")).exit_code, 0);
  ASSERT_EQ(orrery(3, tiny(folder, "--set experiment.name=b")).exit_code, 0);

  for (const char* metric : {"actor_train/grad_norm", "actor_train/loss", "eval/accuracy"}) {
    EXPECT_EQ(last_value(folder / "a", metric), last_value(folder / "b", metric)) << metric;
  }
}

TEST(Train, RunsOnOtherLayoutsOfTheSameGraph) {
  const TemporaryFolder folder;

  const Result disjoint = orrery(4, tiny(folder,
                                         "--set layout.default=d2t1p1@1-2 "
                                         "--set call.reward.layout=d1t1p1@0"));

  EXPECT_EQ(disjoint.exit_code, 0) << disjoint.output;
}

TEST(Train, MovesSamplesTheSameWayByEveryPattern) {
  const TemporaryFolder folder;
  std::vector<double> norms;

  for (const char* pattern : {"direct", "gather-scatter", "bcast"}) {
    const Result result = orrery(4, tiny(folder, std::string("--set experiment.name=") + pattern +
                                                     " --set experiment.redistribution=" + pattern +
                                                     " --set layout.default=d2t1p1@0-1 "
                                                     "--set call.reward.layout=d1t1p1@2"));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    norms.push_back(last_value(folder / pattern, "actor_train/seq_len"));
  }

  EXPECT_EQ(norms[0], norms[1]);
  EXPECT_EQ(norms[0], norms[2]);
}

TEST(Train, TrainsByExamplesAndGoesOnFromTheExportedModel) {
  const TemporaryFolder folder;
  const std::string sft =
      "train " + source("configs/sft_arithmetic.cfg") +
      " --set experiment.output_dir=" + folder.path().string() +
      " --set experiment.total_steps=6 --set call.sft.n_seqs=16 --set evaluate.max_prompts=8"
      " --set model.actor.hidden_size=32 --set model.actor.intermediate_size=64"
      " --set model.actor.warmup_steps=1";
  ASSERT_EQ(orrery(3, sft).exit_code, 0);

  const Result grpo =
      orrery(3, tiny(folder, "--set model.actor.path=" +
                                 (folder / "sft_arithmetic/models/latest/actor").string()));

  EXPECT_EQ(grpo.exit_code, 0) << grpo.output;
}

TEST(Train, KeepsAnEarlierRunOfTheSameName) {
  const TemporaryFolder folder;
  ASSERT_EQ(orrery(3, tiny(folder)).exit_code, 0);

  ASSERT_EQ(orrery(3, tiny(folder, "--resume off")).exit_code, 0);

  EXPECT_TRUE(fs::exists(folder / "grpo_tiny.1/metrics.jsonl"));
  EXPECT_TRUE(fs::exists(folder / "grpo_tiny/metrics.jsonl"));
}

TEST(Train, AcceptsItsOwnResolvedConfiguration) {
  const TemporaryFolder folder;
  ASSERT_EQ(orrery(3, tiny(folder)).exit_code, 0);

  const Result again = orrery(3, "train " + (folder / "grpo_tiny/config.cfg").string());

  EXPECT_EQ(again.exit_code, 0) << again.output;
}

TEST(Train, StopsAfterTheStepWhenSignalledAndSaysSo) {
  const TemporaryFolder folder;

  const Result result = run(
      "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PMIX_MCA_psec=native "
      "OMPI_MCA_mpi_yield_when_idle=1; mpirun --oversubscribe -n 3 " +
          std::string(ORRERY_PROGRAM) + " " + tiny(folder, "--set experiment.total_steps=1000000") +
          " & job=$!; for i in $(seq 100); do sleep 0.1; test -s " +
          (folder / "grpo_tiny/metrics.jsonl").string() +
          " && break; done; sleep 0.5; kill -USR1 $job; wait $job",
      90);

  EXPECT_EQ(result.exit_code, 85) << result.output;
}

}  // namespace
}  // namespace orrery::integration
