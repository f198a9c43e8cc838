#include "plan.h"

#include <gtest/gtest.h>

#include "memory_plan.h"
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

TEST(PlanText, ShowsGraphLayoutsWorkersCommunicatorsAndMemory) {
  const std::string text = plan_text(tiny({}, 2));

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
  expect_part(plan_text(tiny({"experiment.total_epochs=2", "experiment.total_seconds=90"}, 1)),
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

}  // namespace
}  // namespace orrery::cli
