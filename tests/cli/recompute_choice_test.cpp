// The fewest layers that are recomputed, as the plan of a GPU's memory has it.
#include "recompute_choice.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "orrery/graph/layout.h"

namespace orrery::cli {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

/// 7.6 B parameters in 28 layers.
Job seven_b(std::vector<std::string> sets = {}) {
  sets.push_back("model.actor.recompute_layers=auto");
  return prepare_job(ORRERY_SOURCE_DIR "/configs/recipes/grpo_7b_8x80.cfg", sets, 8,
                     DataCheck::kLeaveOut);
}

/// With so few pages that train_steps are the largest phases.
const char* const kFewPages = "call.actor_gen.max_cache_tokens=32768";

/// What the largest train_step of the plan takes, in GB, when so many layers are recomputed.
double train_gb(const GpuAllowances& allowances, const std::string& recompute) {
  const Job job = prepare_job(ORRERY_SOURCE_DIR "/configs/recipes/grpo_7b_8x80.cfg",
                              {kFewPages, "model.actor.recompute_layers=" + recompute}, 8,
                              DataCheck::kLeaveOut);
  double most = 0;
  for (const std::vector<PhaseMemory>& phases : plan_gpu_memory(job)) {
    for (const PhaseMemory& phase : phases) {
      if (phase.phase != "actor_train") continue;
      most = std::max(most, static_cast<double>(phase.of_the_program()) / 1e9);
    }
  }
  return most + allowances.sum(8);
}

TEST(RecomputeChoice, IsTheSmallestThatFits) {
  const GpuAllowances allowances;
  for (const int n : {1, 9, 20}) {
    SCOPED_TRACE(n);
    const double with = train_gb(allowances, std::to_string(n));
    const double with_one_fewer = train_gb(allowances, std::to_string(n - 1));
    ASSERT_LT(with, with_one_fewer);
    Job job = seven_b({kFewPages});

    const auto choices = choose_recompute_layers(
        job, {.memory_gb = (with + with_one_fewer) / 2, .allowances = allowances});

    ASSERT_THAT(choices, SizeIs(1));
    EXPECT_EQ(choices[0].n_recomputed, n);
    EXPECT_EQ(job.experiment.find_model("actor")->recompute_layers, std::to_string(n));
    EXPECT_THAT(choices[0].text(), HasSubstr("model.actor.recompute_layers = " + std::to_string(n) +
                                             " of 28 (auto): with " + std::to_string(n - 1) +
                                             " actor_train would take"));
  }
}

TEST(RecomputeChoice, LeavesRoomForThePagesOfGeneration) {
  Job few = seven_b({kFewPages}), many = seven_b();
  const GpuMemory gpu{.memory_gb = 80, .allowances = {}};

  EXPECT_EQ(choose_recompute_layers(few, gpu).at(0).n_recomputed, 0);
  const RecomputeChoice choice = choose_recompute_layers(many, gpu).at(0);
  EXPECT_GT(choice.n_recomputed, 0);
  EXPECT_THAT(choice.reason, HasSubstr("actor_gen would take"));
}

TEST(RecomputeChoice, IsNoneWhereAllActivationsFit) {
  Job job = seven_b();

  const auto choices = choose_recompute_layers(job, {.memory_gb = 4000, .allowances = {}});

  ASSERT_THAT(choices, SizeIs(1));
  EXPECT_EQ(choices[0].n_recomputed, 0);
  EXPECT_THAT(choices[0].reason, HasSubstr("all activations fit"));
}

TEST(RecomputeChoice, IsAllWhereNothingFits) {
  Job job = seven_b();

  const auto choices = choose_recompute_layers(job, {.memory_gb = 4, .allowances = {}});

  ASSERT_THAT(choices, SizeIs(1));
  EXPECT_EQ(choices[0].n_recomputed, 28);
  EXPECT_THAT(choices[0].reason, HasSubstr("even so"));
}

TEST(RecomputeChoice, IsOfTheLayersOfAStage) {
  Job job = seven_b({"layout.default=d2t1p4@0-7"});

  const auto choices = choose_recompute_layers(job, {.memory_gb = 4, .allowances = {}});

  ASSERT_THAT(choices, SizeIs(1));
  EXPECT_EQ(choices[0].n_recomputed, 7);
}

TEST(RecomputeChoice, LeavesANumberAlone) {
  Job job = prepare_job(ORRERY_SOURCE_DIR "/configs/recipes/grpo_7b_8x80.cfg",
                        {"model.actor.recompute_layers=3"}, 8, DataCheck::kLeaveOut);

  EXPECT_THAT(choose_recompute_layers(job, {.memory_gb = 4, .allowances = {}}), IsEmpty());
  EXPECT_EQ(job.experiment.find_model("actor")->recompute_layers, "3");
}

TEST(RecomputeChoice, IsMadeForEachTrainedRole) {
  Job job = prepare_job(ORRERY_SOURCE_DIR "/configs/ppo_tiny.cfg", {}, 2, DataCheck::kLeaveOut);

  const auto choices = choose_recompute_layers(job, {.memory_gb = 80, .allowances = {}});

  ASSERT_THAT(choices, SizeIs(2));
  EXPECT_EQ(choices[0].role, "actor");
  EXPECT_EQ(choices[1].role, "critic");
  EXPECT_EQ(job.experiment.find_model("critic")->recompute_layers, "0");
  EXPECT_EQ(job.experiment.find_model("ref")->recompute_layers, "auto") << "is not trained";
}

}  // namespace
}  // namespace orrery::cli
