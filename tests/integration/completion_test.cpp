// The script that completes the program's own command line, in a shell as users have it.
#include <gtest/gtest.h>

#include "command.h"

namespace orrery::integration {
namespace {

/// What bash offers for the words of a line, the last one unfinished.
std::string offered(const std::string& words) {
  return run("source <(" + std::string(ORRERY_PROGRAM) + " completion bash); COMP_WORDS=(orrery " +
             words + " ); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _orrery; echo \"${COMPREPLY[*]}\"")
      .output;
}

TEST(Completion, OffersCommands) { EXPECT_EQ(offered("eva"), "evaluate\n"); }

TEST(Completion, OffersTheOptionsOfACommand) {
  EXPECT_EQ(offered("plan --gpu-c"), "--gpu-context-gb --gpu-cublas-gb\n");
  EXPECT_EQ(offered("train --res"), "--resume\n");
  EXPECT_EQ(offered("doctor --gpu-c"), "\n");
}

TEST(Completion, OffersKeysOfFixedSections) {
  EXPECT_EQ(offered("train a.cfg --set experiment.prompts_p"), "experiment.prompts_per_step=\n");
}

TEST(Completion, OffersKeysOfTheSectionsThatAConfigurationHas) {
  const std::string config = source("configs/grpo_tiny.cfg");
  EXPECT_EQ(offered("train " + config + " --set call.actor_gen.max_cache"),
            "call.actor_gen.max_cache_tokens=\n");
  EXPECT_EQ(offered("train " + config + " --set call.actor_train.clip_range_h"),
            "call.actor_train.clip_range_high=\n")
      << "of an included file";
  EXPECT_EQ(offered("train " + config + " --set call.nobody."), "\n");
}

TEST(Completion, OfAShellThatItDoesNotKnowIsRefused) {
  const Result result = orrery_alone("completion fish");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.output.find("unknown shell"), std::string::npos) << result.output;
}

}  // namespace
}  // namespace orrery::integration
