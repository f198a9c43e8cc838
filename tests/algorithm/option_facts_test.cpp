#include "orrery/algorithm/option_facts.h"

#include <gtest/gtest.h>

#include "orrery/algorithm/registry.h"
#include "orrery/base/error.h"

namespace orrery::algorithm {
namespace {

OptionFacts facts_of_call(const std::string& interface,
                          const std::vector<config::Option>& options = {}) {
  config::CallConfig call;
  call.interface = interface;
  call.options = options;
  return option_facts(call);
}

config::Option option(const char* name, const char* value) { return {name, value, {}}; }

TEST(OptionFacts, CountTheOptimizerStepsOfEveryInterfaceThatTrains) {
  for (const char* interface : {"grpo", "ppo_actor", "ppo_critic"}) {
    const OptionFacts facts =
        facts_of_call(interface, {option("n_minibatches", "3"), option("ppo_epochs", "2")});
    EXPECT_EQ(facts.optimizer_steps_per_call(), 6) << interface;
  }
  for (const char* interface : {"sft", "dpo", "reward_model", "distill", "distill_full"}) {
    EXPECT_EQ(facts_of_call(interface, {option("n_minibatches", "3")}).optimizer_steps_per_call(),
              3)
        << interface;
  }
  EXPECT_EQ(facts_of_call("generate").optimizer_steps_per_call(), 1);
}

TEST(OptionFacts, SayHowAnswersAreDrawn) {
  const OptionFacts facts =
      facts_of_call("generate", {option("group_size", "8"), option("max_new_tokens", "17"),
                                 option("greedy", "true"), option("top_k", "4")});

  EXPECT_EQ(facts.group_size, 8);
  EXPECT_EQ(facts.max_new_tokens, 17);
  EXPECT_TRUE(facts.greedy);
  EXPECT_EQ(facts.top_k, 4);
}

TEST(OptionFacts, SayHowAnswersAreCompared) {
  const OptionFacts facts = facts_of_call(
      "rule_reward", {option("match", "numeric"), option("correct", "2"), option("wrong", "-1")});

  EXPECT_EQ(facts.match, MatchRule::kNumeric);
  ASSERT_TRUE(facts.outcomes.has_value());
  EXPECT_EQ(facts.outcomes->correct, 2);
  EXPECT_EQ(facts.outcomes->wrong, -1);
  EXPECT_FALSE(facts_of_call("generate").match.has_value());
  EXPECT_FALSE(facts_of_call("generate").outcomes.has_value());
}

TEST(OptionFacts, SayWhetherAJudgeIsShownTheAnswer) {
  EXPECT_TRUE(
      facts_of_call("judge_reward", {option("template", "{response} {answer}")}).shows_answer);
  EXPECT_FALSE(facts_of_call("judge_reward", {option("template", "{response}")}).shows_answer);
}

TEST(OptionFacts, AreTheDefaultsOfOptionsThatAreNotWritten) {
  EXPECT_EQ(facts_of_call("generate").max_new_tokens, 256);
  EXPECT_EQ(facts_of_call("sft").match, MatchRule::kExact);
}

}  // namespace
}  // namespace orrery::algorithm
