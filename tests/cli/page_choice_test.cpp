// How many pages generation may have, as the plan of a GPU's memory has it.
#include "page_choice.h"

#include <gmock/gmock.h>

#include "orrery/algorithm/generation.h"

namespace orrery::cli {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

/// The 7 B recipe: nothing that `auto` would change, and pages of 68 GB and more if all are wanted.
Job seven_b(std::vector<std::string> sets = {}) {
  sets.insert(sets.end(), {"model.actor.recompute_layers=all", "model.actor.offload=when_idle",
                           "model.ref.offload=when_idle"});
  return prepare_job(ORRERY_SOURCE_DIR "/configs/recipes/grpo_7b_8x80.cfg", sets, 8,
                     DataCheck::kLeaveOut);
}

int64_t tokens_of(const Job& job) {
  return config::parse_options<algorithm::GenerateOptions>(
             job.experiment.find_call("actor_gen")->options)
      .max_cache_tokens;
}

PhaseMemory generation_of(const Job& job) {
  const auto workers = plan_gpu_memory(job);
  for (const PhaseMemory& phase : workers.front()) {
    if (phase.phase == "actor_gen") return phase;
  }
  throw std::runtime_error("there is no actor_gen");
}

TEST(PageChoice, FillsWhatIsLeftButTheReserve) {
  Job job = seven_b();
  const GpuMemory gpu{.memory_gb = 40, .allowances = {}};
  const int64_t wanted = generation_of(job).pages;

  const auto choices = choose_pages(job, gpu);

  ASSERT_THAT(choices, SizeIs(1));
  EXPECT_EQ(choices[0].call, "actor_gen");
  EXPECT_EQ(tokens_of(job), choices[0].max_cache_tokens);
  EXPECT_THAT(choices[0].text(), HasSubstr("max_cache_tokens = "));
  // The plan now counts these pages, and all of the GPU but its reserve is used.
  const PhaseMemory phase = generation_of(job);
  EXPECT_LT(phase.pages, wanted);
  const double used =
      static_cast<double>(phase.of_the_program()) / kGb + gpu.allowances.sum(job.n_workers);
  EXPECT_LE(used, 40 * (1 - kPageReserve));
  EXPECT_NEAR(used, 40 * (1 - kPageReserve), 0.01);
}

TEST(PageChoice, IsMoreOnALargerGpuAndTheSameEachTime) {
  Job small = seven_b(), again = seven_b(), large = seven_b();
  choose_pages(small, {.memory_gb = 40, .allowances = {}});
  choose_pages(again, {.memory_gb = 40, .allowances = {}});
  choose_pages(large, {.memory_gb = 48, .allowances = {}});
  EXPECT_EQ(tokens_of(small), tokens_of(again));
  EXPECT_GT(tokens_of(large), tokens_of(small));
}

TEST(PageChoice, IsNothingWhereAllThatCouldBeNeededFits) {
  Job job = seven_b();
  EXPECT_THAT(choose_pages(job, {.memory_gb = 4000, .allowances = {}}), IsEmpty());
  EXPECT_EQ(tokens_of(job), 0);
}

TEST(PageChoice, LeavesWhatTheConfigurationSays) {
  Job job = seven_b({"call.actor_gen.max_cache_tokens=65536"});
  EXPECT_THAT(choose_pages(job, {.memory_gb = 40, .allowances = {}}), IsEmpty());
  EXPECT_EQ(tokens_of(job), 65536);
}

TEST(PageChoice, IsOneSequenceAtLeast) {
  Job job = seven_b();
  choose_pages(job, {.memory_gb = 1, .allowances = {}});
  EXPECT_GT(tokens_of(job), 8192) << "the longest answer of the recipe";
  EXPECT_LT(generation_of(job).pages, 2 * generation_of(job).fewest_pages);
}

}  // namespace
}  // namespace orrery::cli
