#include "next_commands.h"

#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

const StartWords kStart{.launcher = "mpirun -n 3", .program = "build/release/orrery"};

EndedRun grpo_run() {
  return {.root = "/home/a/runs/grpo",
          .models = "/home/a/runs/grpo/models/best",
          .generating_role = "actor",
          .has_evaluations = true,
          .prompt = "1+1="};
}

TEST(NextCommands, AreThePageTheEvaluationsAndAContinuation) {
  EXPECT_EQ(
      next_commands(grpo_run(), kStart, "/home/a"),
      (std::vector<std::string>{
          "build/release/orrery report runs/grpo --out report.html",
          "mpirun -n 3 build/release/orrery evaluate runs/grpo/config.cfg --model "
          "runs/grpo/models/best",
          "build/release/orrery generate --model runs/grpo/models/best/actor --prompt 1+1="}));
}

TEST(NextCommands, OfARunWithoutModelsShowWhatThereIs) {
  EndedRun run = grpo_run();
  run.models.clear();

  EXPECT_EQ(next_commands(run, kStart, "/home/a"),
            (std::vector<std::string>{"build/release/orrery report runs/grpo --out report.html",
                                      "build/release/orrery plot runs/grpo",
                                      "build/release/orrery inspect runs/grpo"}));
}

TEST(NextCommands, OfARewardModelDoNotGenerate) {
  EndedRun run = grpo_run();
  run.generating_role.clear();

  EXPECT_EQ(next_commands(run, kStart, "/home/a").at(2), "build/release/orrery plot runs/grpo");
}

TEST(NextCommands, CanBeCopiedWhateverStandsInThem) {
  EndedRun run = grpo_run();
  run.prompt = "It's $HOME?";
  run.models = "/other disk/best";

  EXPECT_EQ(next_commands(run, kStart, "/home/a").at(2),
            "build/release/orrery generate --model '/other disk/best/actor' --prompt "
            "'It'\\''s $HOME?'");
}

TEST(NextCommands, BeginLikeTheCommandThatStartedTheRun) {
  EXPECT_EQ(
      launcher_text({"mpirun", "--oversubscribe", "-n", "3", "build/orrery", "train", "a.cfg"},
                    "build/orrery"),
      "mpirun --oversubscribe -n 3");
  EXPECT_EQ(launcher_text({"mpirun", "-n", "3", "wrapper.sh"}, "build/orrery"), "");
}

TEST(NextCommands, KeepValuesOfTheEnvironmentToThemselves) {
  EXPECT_EQ(launcher_text({"mpirun", "-x", "TOKEN=secret", "-n", "3", "orrery"}, "orrery"),
            "mpirun -x TOKEN -n 3");
}

TEST(NextCommands, WithoutAKnownPromptReadLines) {
  EndedRun run = grpo_run();
  run.prompt.clear();

  EXPECT_TRUE(next_commands(run, kStart, "/home/a").at(2).ends_with("--prompt -"));
}

}  // namespace
}  // namespace orrery::cli
