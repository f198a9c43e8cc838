// What a run would do in vain is said before it starts.
#include "run_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> warnings_of(const std::vector<std::string>& sets,
                                     DataCheck data = DataCheck::kLeaveOut) {
  std::vector<std::string> texts;
  for (const config::Problem& warning :
       prepare_job(ORRERY_SOURCE_DIR "/configs/grpo_tiny.cfg", sets, 2, data).warnings) {
    texts.push_back(warning.message());
  }
  return texts;
}

TEST(RunChecks, AWarmUpThatIsLongerThanTheRunIsNamed) {
  const std::vector<std::string> sets = {"experiment.total_steps=4",
                                         "call.actor_train.n_minibatches=2"};
  const auto with = [&](const char* warmup) {
    std::vector<std::string> all = sets;
    all.push_back(std::string("model.actor.warmup_steps=") + warmup);
    return all;
  };

  EXPECT_THAT(warnings_of(with("16")),
              Contains(AllOf(HasSubstr("model.actor.warmup_steps: 16, but the run has 8 updates"),
                             HasSubstr("at most 0.5 of its peak"))));
  EXPECT_THAT(warnings_of(with("16"), DataCheck::kRead), Contains(HasSubstr("has 8 updates")));
  EXPECT_THAT(warnings_of(with("8")), Not(Contains(HasSubstr("warmup_steps"))));
}

TEST(RunChecks, ALastLearningRateOfOneThatStaysIsNamed) {
  const std::string ratio = "model.actor.min_lr_ratio=0.1";

  EXPECT_THAT(warnings_of({ratio}),
              Contains(HasSubstr("model.actor.min_lr_ratio: has no effect with lr_schedule")));
  EXPECT_THAT(warnings_of({ratio, "model.actor.lr_schedule=linear"}),
              Not(Contains(HasSubstr("min_lr_ratio"))));
}

TEST(RunChecks, ATrainedModelThatNobodyKeepsIsNamed) {
  const std::string off = "export.at_end=false";
  const auto thrown_away = Contains(HasSubstr("export.at_end: false, and nothing else"));

  const std::string never = "checkpoint.every_seconds=0";

  EXPECT_THAT(warnings_of({off, never}), thrown_away);
  EXPECT_THAT(warnings_of({off}), Not(thrown_away)) << "there is a checkpoint at the end";
  EXPECT_THAT(warnings_of({off, never, "export.every_steps=2"}), Not(thrown_away));
  EXPECT_THAT(warnings_of({never}), Not(thrown_away));
}

}  // namespace
}  // namespace orrery::cli
