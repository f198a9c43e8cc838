// Which rewards answers may have by the options alone, and estimators that are not defined for
// them.
#include "orrery/algorithm/possible_rewards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "orrery/algorithm/agreements.h"
#include "orrery/algorithm/methods.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/text.h"
#include "orrery/config/load.h"

namespace orrery::algorithm {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// Lines of the calls that matter here. Answers have up to 8 tokens; `form` is a second reward, of
/// which others may be made.
struct Lines {
  std::string train;
  std::string reward = "";
  std::string inputs = "";  ///< of the train_step, beside what it needs
  std::string rule = "interface = rule_reward";
};

config::LoadResult load(const Lines& lines) {
  config::LoadResult read = config::load_experiment_text(
      base::concat(R"(
[experiment]
total_steps = 2
[dataset.d]
path = .
[model.actor]
[model.none]
architecture = none
[call.gen]
model = actor
kind = generate
interface = generate
n_seqs = 4
inputs = packed_prompts
outputs = packed_input_ids, prompt_mask, packed_logprobs, seq_no_eos_mask
group_size = 4
max_new_tokens = 8
[call.form]
model = none
kind = inference
interface = format_reward
pattern = x
n_seqs = 4
inputs = packed_input_ids, prompt_mask
outputs = rewards:form
[call.sum]
model = none
kind = inference
interface = combined_reward
n_seqs = 4
inputs = packed_input_ids, prompt_mask, rewards, form
outputs = rewards:sum
rewards = rewards:1, form:0.5
[call.reward]
model = none
kind = inference
n_seqs = 4
inputs = packed_input_ids, prompt_mask, answers
outputs = rewards
)",
                   lines.rule, "\n", lines.reward, R"(
[call.train]
model = actor
kind = train_step
interface = grpo
n_seqs = 4
inputs = packed_input_ids, prompt_mask, packed_logprobs, seq_no_eos_mask, )",
                   lines.inputs.empty() ? "rewards" : lines.inputs, "\n", lines.train, "\n"),
      "x.cfg", interface_schemas());
  std::vector<config::Problem> notices;
  expand_methods(read.experiment, notices);
  inherit_options(read.experiment, read.problems, notices);
  return read;
}

/// What is said of the estimator before a run, or "".
std::string said(const Lines& lines) {
  std::vector<config::Problem> problems, warnings;
  check_calls(load(lines).experiment, problems, warnings);
  std::string all;
  for (const config::Problem& each : problems) {
    if (each.key == "call.train.estimator") all += each.message();
  }
  return all;
}

std::vector<float> rewards(const std::string& key, const std::string& reward = "") {
  std::vector<float> values;
  for (const PossibleReward& each :
       possible_rewards(load({.train = "", .reward = reward}).experiment, key)) {
    values.push_back(each.value);
  }
  return values;
}

TEST(PossibleRewards, AreTheOutcomesOfARule) {
  EXPECT_EQ(rewards("rewards"), (std::vector<float>{0, 1}));
  EXPECT_EQ(rewards("rewards", "correct = 2\nwrong = -1"), (std::vector<float>{-1, 2}));
}

TEST(PossibleRewards, AreLessForAnswersThatAreTooLong) {
  EXPECT_EQ(rewards("rewards", "overlong_max_length = 6"), (std::vector<float>{-1, 0, 1}));
  EXPECT_EQ(rewards("rewards", "overlong_max_length = 6\noverlong_buffer = 2"),
            (std::vector<float>{-1, -0.5, 0, 0.5, 1}));
  EXPECT_EQ(rewards("rewards", "overlong_max_length = 8"), (std::vector<float>{0, 1}))
      << "no answer is longer";
}

TEST(PossibleRewards, OfSeveralCallsAreTheirSums) {
  EXPECT_EQ(rewards("sum"), (std::vector<float>{0, 0.5, 1, 1.5}));
}

TEST(PossibleRewards, OfWhatOptionsDoNotTellAreNone) {
  const Lines lines{.train = "", .rule = "interface = command_reward\ncommand = true"};

  EXPECT_TRUE(possible_rewards(load(lines).experiment, "rewards").empty());
  EXPECT_TRUE(possible_rewards(load(lines).experiment, "sum").empty());
}

const std::string kCommand = "interface = command_reward\ncommand = true";

TEST(Outcomes, ThatAnEstimatorIsNotDefinedForAreRefusedWithTheirKeys) {
  const std::string overlong = "overlong_max_length = 6\noverlong_buffer = 2";
  const struct {
    Lines lines;
    const char* got;
    const char* key;
  } refused[] = {
      {{"method = maxrl", "wrong = -1"}, "may have -1:", "call.reward.wrong = -1"},
      {{"method = maxrl", overlong}, "may have -1:", "call.reward.overlong_max_length = 6"},
      {{"method = maxrl\nreward_bias = 0.5"}, "may have -0.5:", "call.train.reward_bias = 0.5"},
      {{"method = maxrl\nreward_scaling = -1"}, "may have -1:", "call.train.reward_scaling = -1"},
      {{"method = maxrl\nreward_weight = -1"}, "may have -1:", "call.train.reward_weight = -1"},
      {{"method = maxrl\nreward_weight_2 = -1", "", "rewards, rewards_2:form"},
       "may have -1:",
       "call.train.reward_weight_2 = -1"},
      {{"method = maxrl", "wrong = -1", "rewards:sum"}, "may have -1:", "call.sum.rewards"},
      {{"method = pass_at_k", "wrong = -1"}, "may have -1:", "call.reward.wrong = -1"},
      {{"method = pass_at_k", "correct = 2"}, "may have 2:", "call.reward.correct = 2"},
      {{"method = pass_at_k", overlong}, "may have -1:", "call.reward.overlong_penalty = 1"},
      {{"method = pass_at_k\nreward_weight = 2"}, "may have 2:", "call.train.reward_weight = 2"},
      {{"method = pass_at_k\nmax_reward_clip = 0.5"},
       "may have 0.5:",
       "call.train.max_reward_clip = 0.5"},
      {{"method = pass_at_k", "", "rewards, rewards_2:form"}, "may have 2:", "are added up"},
      {{"method = pass_at_k\nreward_bias = 1", "", "", kCommand},
       "may have -1:",
       "call.train.reward_bias = 1"},
      {{"method = pass_at_k", overlong, "", kCommand},
       "may have -1:",
       "call.reward.overlong_max_length = 6"},
  };
  for (const auto& [lines, got, key] : refused) {
    SCOPED_TRACE(base::concat(lines.train, "; ", lines.reward, "; ", lines.inputs));
    EXPECT_THAT(said(lines), AllOf(HasSubstr("call.train.estimator: "), HasSubstr(got),
                                   HasSubstr(key), HasSubstr("x.cfg:")));
  }
}

TEST(Outcomes, ThatAreSoundInTheEndAreAccepted) {
  for (const Lines& lines : std::initializer_list<Lines>{
           {"method = maxrl"},
           {"method = maxrl", "correct = 2"},
           {"method = maxrl\nreward_bias = -1", "wrong = -1"},
           {"method = maxrl\nreward_scaling = -1", "correct = -1"},
           {"method = maxrl", "", "", kCommand},
           {"method = maxrl\nreward_weight_2 = 0", "", "rewards, rewards_2:form"},
           {"method = pass_at_k"},
           {"method = pass_at_k", "overlong_max_length = 8"},
           {"method = pass_at_k\nreward_scaling = 0.5", "correct = 2"},
           {"method = pass_at_k\nmax_reward_clip = 1", "correct = 5"},
           {"method = pass_at_k", "", "", kCommand},
           {"method = grpo", "wrong = -1"},
       }) {
    SCOPED_TRACE(base::concat(lines.train, "; ", lines.reward, "; ", lines.inputs));
    EXPECT_EQ(said(lines), "");
  }
}

}  // namespace
}  // namespace orrery::algorithm
