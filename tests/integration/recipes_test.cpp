// The recipes of configs/recipes/ with their stand-in sizes, in short runs.
#include <gtest/gtest.h>

#include "integration/runs_for_test.h"

namespace orrery::integration {
namespace {

/// Three steps of configs/recipes/NAME.cfg into `folder`.
Result three_steps(const std::string& name, const TemporaryFolder& folder) {
  return orrery(3, "train " + source("configs/recipes/" + name + ".cfg") +
                       " --set experiment.output_dir=" + folder.path().string() +
                       " --set experiment.total_epochs=0 --set experiment.total_steps=3"
                       " --set export.at_end=false");
}

class Recipe : public ::testing::TestWithParam<const char*> {};

TEST_P(Recipe, TrainsAtEveryStep) {
  const std::string name = GetParam();
  const TemporaryFolder folder;

  const Result result = three_steps(name, folder);

  ASSERT_EQ(result.exit_code, 0) << result.output;
  const auto rows = read_jsonl(folder / ("recipe_" + name) / "metrics.jsonl");
  EXPECT_EQ(rows.back()["step"], 3) << result.output;
}

INSTANTIATE_TEST_SUITE_P(Shipped, Recipe,
                         ::testing::Values("sft", "dpo", "grpo", "distill", "ppo_reward_model"));

}  // namespace
}  // namespace orrery::integration
