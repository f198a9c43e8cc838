#include "learning_watch.h"

#include <gtest/gtest.h>

#include "orrery/base/error.h"

namespace orrery::cli {
namespace {

using Numbers = std::map<std::string, double>;

/// The warnings of `n` equal steps.
std::vector<std::string> after(LearningWatch& watch, int n, const Numbers& numbers) {
  std::vector<std::string> warnings;
  for (int i = 0; i < n; ++i) {
    for (std::string& text : watch.on_call("c", numbers)) warnings.push_back(std::move(text));
  }
  return warnings;
}

TEST(LearningWatch, WarnsOfEachSignThatLastsTwentySteps) {
  const std::pair<Numbers, const char*> signs[] = {
      {{{"c/uniform_group_ratio", 1}}, "nothing to compare"},
      {{{"c/reward_min", 0.5}, {"c/reward_max", 0.5}}, "the same reward"},
      {{{"c/no_eos_ratio", 1}, {"c/response_length", 8}}, "cut off"},
      {{{"c/grad_norm", 0}}, "gradient has been 0"},
      {{{"c/skipped_steps", 2}}, "no update"},
      {{{"c/skipped_steps", 0}, {"c/early_stopped_steps", 4}}, "no update"},
  };
  for (const auto& [numbers, text] : signs) {
    SCOPED_TRACE(text);
    LearningWatch watch;
    EXPECT_TRUE(after(watch, 19, numbers).empty());
    const std::vector<std::string> warnings = after(watch, 1, numbers);
    ASSERT_EQ(warnings.size(), 1u);
    EXPECT_NE(warnings[0].find(text), std::string::npos) << warnings[0];
    EXPECT_NE(warnings[0].find("call.c: for 20 steps"), std::string::npos) << warnings[0];
    EXPECT_EQ(after(watch, 20, numbers).size(), 1u) << "again after as many";
  }
}

TEST(LearningWatch, CountsOnFromWhatACheckpointHas) {
  const Numbers numbers = {{"c/grad_norm", 0}};
  LearningWatch before, watch;
  EXPECT_TRUE(after(before, 19, numbers).empty());

  watch.set_lasting(before.lasting_text());

  EXPECT_EQ(after(watch, 1, numbers).size(), 1u);
}

TEST(LearningWatch, RefusesACheckpointThatSaysNothingOfIt) {
  for (const char* text : {"", "[]", "{\"c\": []}"}) {
    EXPECT_THROW(LearningWatch().set_lasting(text), CheckpointError) << text;
  }
}

TEST(LearningWatch, BeginsAgainAfterAStepWithoutTheSign) {
  LearningWatch watch;
  EXPECT_TRUE(after(watch, 19, {{"c/grad_norm", 0}}).empty());
  EXPECT_TRUE(after(watch, 1, {{"c/grad_norm", 0.1}}).empty());
  EXPECT_TRUE(after(watch, 19, {{"c/grad_norm", 0}}).empty());
}

TEST(LearningWatch, SaysNothingOfARunThatLearns) {
  LearningWatch watch;
  EXPECT_TRUE(after(watch, 50,
                    {{"c/uniform_group_ratio", 0.9},
                     {"c/reward_min", 0},
                     {"c/reward_max", 1},
                     {"c/no_eos_ratio", 0.9},
                     {"c/response_length", 8},
                     {"c/grad_norm", 0.1},
                     {"c/skipped_steps", 1}})
                  .empty());
}

TEST(LearningWatch, KnowsARunInWhichNoUpdateWasFinite) {
  LearningWatch watch;
  after(watch, 3, {{"c/skipped_steps", 2}, {"c/nonfinite_steps", 2}});
  EXPECT_EQ(watch.reason_of_no_update(false),
            "call.c: all 6 updates were skipped, a loss or gradient was not finite");
  after(watch, 1, {{"c/skipped_steps", 1}, {"c/nonfinite_steps", 1}, {"c/grad_norm", 1}});
  EXPECT_EQ(watch.reason_of_no_update(true), "");
}

TEST(LearningWatch, KnowsAWholeRunWithoutOneUpdate) {
  LearningWatch watch;
  after(watch, 3, {{"c/skipped_steps", 2}, {"c/nonfinite_steps", 0}});
  after(watch, 1, {{"c/skipped_steps", 1}, {"c/early_stopped_steps", 1}});

  EXPECT_EQ(
      watch.reason_of_no_update(true),
      "call.c: not one update was made in the whole run; 7 had no token with any weight: every "
      "answer was left out, cut off, or of a group of equal rewards; 1 stopped early");
  EXPECT_EQ(watch.reason_of_no_update(false), "") << "the steps before may have made some";
  after(watch, 1, {{"c/skipped_steps", 1}, {"c/grad_norm", 0}});
  EXPECT_EQ(watch.reason_of_no_update(true), "");
}

}  // namespace
}  // namespace orrery::cli
