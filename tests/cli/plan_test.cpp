#include "plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <vector>

#include "base/temporary_folder.h"
#include "call_costs.h"
#include "memory_plan.h"
#include "node_memory.h"
#include "orrery/base/text.h"
#include "orrery/model/parameter_table.h"

namespace orrery::cli {
namespace {

Job tiny(const std::vector<std::string>& sets, int n_workers) {
  return prepare_job(ORRERY_SOURCE_DIR "/configs/grpo_tiny.cfg", sets, n_workers,
                     DataCheck::kLeaveOut);
}

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << part << "\nis not in\n" << text;
}

const NodeMemory kNode = {.bytes = int64_t{1} << 40, .source = "--memory-gb"};

TEST(PlanText, ListsDataSetsWithUseRowsShareAndLengths) {
  const TemporaryFolder folder;
  std::ofstream(folder / "more.jsonl") << "{\"prompt\": \"123=\", \"answer\": 6}\n"
                                       << std::string(60, '{') << "\n";
  const Job job = prepare_job(ORRERY_SOURCE_DIR "/configs/grpo_tiny.cfg",
                              {"dataset.more.path=" + (folder / "more.jsonl").string(),
                               "dataset.more.on_bad_record=skip", "dataset.eval.use=evaluate"},
                              1, DataCheck::kReadLengths);

  const std::string text = plan_text(job, kNode);

  expect_part(text,
              "\ndata sets\nname   kind     use       rows  refused  share   bos    prompt tokens");
  expect_part(text, "train  prompts  train     64    0        98.5 %  false  4.0 / 4 / 4");
  expect_part(text, "eval   prompts  evaluate  64    0        -       false");
  expect_part(text, "more   prompts  train     1     1        1.5 %   false  4.0 / 4 / 4");
}

TEST(PlanText, SaysWhatDoesNotFitAndWhatToLower) {
  const Job job = tiny({}, 2);
  const std::vector<WorkerMemory> workers = plan_memory(job);
  const int64_t each =
      workers[0].parameter_bytes + workers[0].training_bytes + workers[0].generation_bytes;

  expect_part(fit_text(job, workers, {.bytes = 2 * each, .source = "s"}),
              "(s): they fit on one node");
  expect_part(fit_text(job, workers, {.bytes = 2 * each - 1, .source = "s"}),
              "do not fit on one node; start at most 1 worker on a node");
  const std::string text = fit_text(job, workers, {.bytes = each - 1, .source = "s"});
  expect_part(text, "worker 0 does not fit\n");
  expect_part(text, "call.actor_gen.max_batch");
  expect_part(text, "dataset.train.max_prompt_tokens");
  expect_part(text, "optimizer's state");
}

TEST(PlanText, MemoryOfThisMachineIsKnown) {
  EXPECT_GT(memory_of_this_machine().bytes, int64_t{1} << 28);
}

TEST(PlanText, ShowsGraphLayoutsWorkersCommunicatorsAndMemory) {
  const std::string text = plan_text(tiny({}, 2), kNode);

  expect_part(text, "experiment grpo_tiny: 2 workers and a master (mpirun -n 3), stops after 4 ");
  expect_part(text, "level 0\n");
  expect_part(text, "level 2\n");
  expect_part(text, "actor_gen --[packed_input_ids, prompt_mask]--> reward");
  expect_part(text, "| d2t1p1@0-1 ");
  expect_part(text, "\nreplicas\n");
  expect_part(text, "\nworkers\nworker  actor.0   rule.0\n0       p0 d0 t0  p0 d0 t0\n");
  expect_part(text, "\ncommunicators\n");
  expect_part(text, "actor.0/data0");
  expect_part(text, "\nparameter hooks\n");
  expect_part(text, "0-1      35168       137.4 KiB  274.8 KiB");
}

TEST(PlanText, NamesEveryLimitOfTheRun) {
  expect_part(
      plan_text(tiny({"experiment.total_epochs=2", "experiment.total_seconds=90"}, 1), kNode),
      "1 worker and a master (mpirun -n 2), stops after 4 steps or 2 epochs or 90 s\n");
}

TEST(MemoryPlan, CountsParametersGradientsAndMoments) {
  const Job job = tiny({}, 2);
  const int64_t n = model::parameter_table(job.architectures.at("actor")).numel;

  const std::vector<WorkerMemory> workers = plan_memory(job);

  ASSERT_EQ(workers.size(), 2u);
  for (const WorkerMemory& worker : workers) {
    EXPECT_EQ(worker.n_parameters, n);
    EXPECT_EQ(worker.parameter_bytes, 4 * n);
    EXPECT_EQ(worker.training_bytes, 4 * n + 8 * n / 2);  // gradients; half of two moments
    EXPECT_EQ(worker.replicas, std::vector<std::string>{"actor.0 (trained)"});
  }
}

TEST(MemoryPlan, DoublesInFp64) {
  const WorkerMemory fp32 = plan_memory(tiny({}, 1)).front();
  const WorkerMemory fp64 = plan_memory(tiny({"model.actor.dtype=fp64"}, 1)).front();

  EXPECT_EQ(fp64.n_parameters, fp32.n_parameters);
  EXPECT_EQ(fp64.parameter_bytes, 2 * fp32.parameter_bytes);
  EXPECT_EQ(fp64.training_bytes, 2 * fp32.training_bytes);
  EXPECT_EQ(fp64.generation_bytes, 2 * fp32.generation_bytes);
}

TEST(MemoryPlan, CountsMastersAndTheWidenedCopyOfBf16) {
  const WorkerMemory fp32 = plan_memory(tiny({}, 1)).front();
  const WorkerMemory bf16 = plan_memory(tiny({"model.actor.dtype=bf16"}, 1)).front();

  EXPECT_EQ(bf16.parameter_bytes, 6 * fp32.n_parameters);
  EXPECT_EQ(bf16.training_bytes, 16 * fp32.n_parameters);
}

TEST(MemoryPlan, CountsWhatEachShardHas) {
  const int64_t whole = plan_memory(tiny({}, 1)).front().n_parameters;
  const std::vector<WorkerMemory> workers = plan_memory(tiny({"layout.default=d1t2p2@0-3"}, 4));

  int64_t sum = 0;
  for (const WorkerMemory& worker : workers) {
    sum += worker.n_parameters;
    EXPECT_LT(worker.n_parameters, whole / 3);
    EXPECT_EQ(worker.training_bytes, 12 * worker.n_parameters);
  }
  EXPECT_GE(sum, whole);
  EXPECT_LT(sum, whole * 11 / 10) << "norms and a shared key head are on both tensor ranks";
}

TEST(MemoryPlan, BoundsGenerationByTheLongestPromptsAndAnswers) {
  const Job job = tiny({"evaluate.dataset=", "evaluate.every_steps=0"}, 1);

  const WorkerMemory worker = plan_memory(job).front();

  // Matrices of 2 blocks of 9216 and the head of 259 x 32. Prompts of up to 64 tokens have 4 pages,
  // each of the 8 x 4 answers of 6 tokens has up to 2 of its own; a page has 1 head x (16 keys and
  // 16 values of 16 tokens) numbers in each of 2 blocks.
  constexpr int64_t kWeights = 2 * 9216 + 259 * 32;
  constexpr int64_t kPages = 8 * 4 + 8 * 4 * 2;
  EXPECT_EQ(worker.generation_bytes, 4 * (kWeights + kPages * 2 * 2 * 16 * 16));
}

TEST(MemoryPlan, AnEvaluationCountsAsAGeneration) {
  const std::vector<std::string> sets = {"evaluate.max_prompts=500", "evaluate.max_new_tokens=60"};

  EXPECT_GT(plan_memory(tiny(sets, 1)).front().generation_bytes,
            plan_memory(tiny({}, 1)).front().generation_bytes);
}

TEST(MemoryPlan, AWorkerWithoutAModelHasNone) {
  const Job job = tiny({"layout.default=d1@1"}, 3);

  const std::vector<WorkerMemory> workers = plan_memory(job);

  EXPECT_EQ(workers[0].n_parameters, 0);
  EXPECT_GT(workers[1].n_parameters, 0);
  EXPECT_EQ(workers[2].parameter_bytes, 0);
}

TEST(MemoryText, PutsNeighboursWithEqualLoadInOneLine) {
  const std::string text = memory_text(plan_memory(tiny({"layout.default=d2@1-2"}, 4)));

  EXPECT_EQ(base::split(text, '\n').size(), 5u) << text;  // head, 0, 1-2, 3, and the last line end
  expect_part(text, "\n0        0           0 B        0 B         0 B                  -\n");
  expect_part(text, "\n1-2      35168 ");
}

TEST(CallCosts, LayersThatRunAgainInBackwardAreCounted) {
  const auto n_recomputed = [](std::vector<std::string> sets, const std::string& layers) {
    sets.push_back("model.actor.n_layers=5");
    sets.push_back("model.actor.recompute_layers=" + layers);
    const Job job =
        prepare_job(ORRERY_SOURCE_DIR "/configs/grpo_tiny.cfg", sets, 2, DataCheck::kLeaveOut);
    return call_costs(job).at(static_cast<size_t>(job.graph.find("actor_train"))).n_recomputed;
  };
  EXPECT_EQ(n_recomputed({}, "auto"), 0);
  EXPECT_EQ(n_recomputed({}, "2"), 2);
  EXPECT_EQ(n_recomputed({}, "all"), 5);
  const std::vector<std::string> two_stages = {"layout.default=p2@0-1"};
  EXPECT_EQ(n_recomputed(two_stages, "2"), 4);
  EXPECT_EQ(n_recomputed(two_stages, "3"), 5) << "stages of 3 and 2 layers";
}

}  // namespace
}  // namespace orrery::cli
