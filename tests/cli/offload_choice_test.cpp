// What goes to the host while it is idle, as the plan of a GPU's memory has it.
#include "offload_choice.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "residency.h"

namespace orrery::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Job seven_b(std::vector<std::string> sets = {}) {
  sets.insert(sets.end(),
              {"model.actor.recompute_layers=all", "call.actor_gen.max_cache_tokens=32768"});
  return prepare_job(ORRERY_SOURCE_DIR "/configs/recipes/grpo_7b_8x80.cfg", sets, 8,
                     DataCheck::kLeaveOut);
}

Job tiny(const std::string& config, std::vector<std::string> sets = {}) {
  return prepare_job(ORRERY_SOURCE_DIR "/configs/" + config + ".cfg", sets, 4,
                     DataCheck::kLeaveOut);
}

/// What the largest phase takes, in GB.
double most_gb(const std::string& of_actor, const std::string& of_ref) {
  const Job job = seven_b({"model.actor.offload=" + of_actor, "model.ref.offload=" + of_ref});
  int64_t most = 0;
  for (const std::vector<PhaseMemory>& phases : plan_gpu_memory(job)) {
    for (const PhaseMemory& phase : phases) most = std::max(most, phase.of_the_program());
  }
  return static_cast<double>(most) / 1e9 + GpuAllowances().sum(8);
}

/// `actor never, ref when_idle` after the choice.
std::vector<std::string> chosen(double memory_gb) {
  Job job = seven_b();
  choose_offload(job, {.memory_gb = memory_gb, .allowances = {}});
  return {job.experiment.find_model("actor")->offload, job.experiment.find_model("ref")->offload};
}

TEST(OffloadChoice, IsNothingWhereAllFits) {
  EXPECT_THAT(chosen(most_gb("never", "never") + 0.1), ElementsAre("never", "never"));
}

TEST(OffloadChoice, IsTheLeastWithWhichAllFits) {
  // The optimizer's state is there in the largest phase, training, in any case.
  ASSERT_LT(most_gb("never", "when_idle"), most_gb("never", "never"));
  EXPECT_THAT(chosen(most_gb("never", "never") - 0.1), ElementsAre("never", "when_idle"));
}

TEST(OffloadChoice, IsAllThatHelpsWhereNothingFits) {
  Job job = seven_b();

  const auto choices = choose_offload(job, {.memory_gb = 4, .allowances = {}});

  ASSERT_THAT(choices, testing::SizeIs(2));
  EXPECT_EQ(choices[0].role, "actor") << "11.4 GB before 7.6";
  EXPECT_EQ(choices[0].text().find("model.actor.offload = when_idle (auto): with its optimizer's "
                                   "state (11.4 GB) "),
            0u)
      << choices[0].text();
  EXPECT_THAT(choices[1].text(), HasSubstr("of the 4.0 GB of a GPU"));
}

TEST(OffloadChoice, LeavesAWordAlone) {
  Job job = seven_b({"model.actor.offload=never", "model.ref.offload=never"});

  EXPECT_THAT(choose_offload(job, {.memory_gb = 4, .allowances = {}}), IsEmpty());
  EXPECT_EQ(job.experiment.find_model("ref")->offload, "never");
}

TEST(Residency, IsOfRolesThatNothingChangesAndOfOptimizers) {
  const Job job =
      tiny("ppo_tiny", {"model.actor.offload=when_idle", "model.ref.offload=when_idle"});

  EXPECT_THAT(residency_of(job).offload_when_idle, ElementsAre("ref"));
  EXPECT_THAT(residency_of(job).offload_optimizer, ElementsAre("actor"));
  EXPECT_EQ(idle_part_of(job, "critic"), IdlePart::kOptimizer);
}

TEST(Residency, LeavesWhatOtherCallsNeedInBetween) {
  EXPECT_EQ(idle_part_of(tiny("ppo_tiny", {"call.actor_train.post_realloc=ref"}), "ref"),
            IdlePart::kNothing)
      << "it follows the actor";
  EXPECT_EQ(idle_part_of(tiny("distill_full_tiny"), "teacher"), IdlePart::kNothing)
      << "the student's loss reads its head";
}

}  // namespace
}  // namespace orrery::cli
