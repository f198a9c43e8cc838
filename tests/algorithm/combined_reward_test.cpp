// Rewards by form, and one reward out of several.
#include "orrery/algorithm/combined_reward.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "orrery/algorithm/format_reward.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/error.h"
#include "orrery/config/load.h"

namespace orrery::algorithm {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// One sample with these answers to `p`.
data::SequenceBatch answers(const std::vector<std::string>& texts) {
  const data::ByteTokenizer tokenizer;
  std::vector<int64_t> ids;
  std::vector<int32_t> is_prompt, lengths;
  for (const std::string& text : texts) {
    const std::vector<int32_t> tokens = tokenizer.encode("p" + text);
    for (size_t i = 0; i < tokens.size(); ++i) {
      ids.push_back(tokens[i]);
      is_prompt.push_back(i == 0 ? 1 : 0);
    }
    lengths.push_back(static_cast<int32_t>(tokens.size()));
  }
  data::NestedLengths nested;
  nested.add_sample(lengths);
  data::SequenceBatch batch;
  batch.meta.ids = {{5}};
  batch.set("packed_input_ids", at::tensor(ids, at::kLong), nested);
  batch.set("prompt_mask", at::tensor(is_prompt, at::kInt).to(at::kBool), nested);
  return batch;
}

std::vector<float> rewards_of(Interface& interface, const data::SequenceBatch& batch) {
  const data::ByteTokenizer tokenizer;
  ModelContext model{.tokenizer = &tokenizer};
  CallContext call;
  call.call = "reward";
  const at::Tensor got = interface.inference(model, batch, call).at("rewards");
  return {got.const_data_ptr<float>(), got.const_data_ptr<float>() + got.numel()};
}

std::vector<float> rewards_of(const FormatRewardOptions& options,
                              const std::vector<std::string>& texts) {
  FormatReward interface(options);
  return rewards_of(interface, answers(texts));
}

TEST(FormatReward, WantsAPatternSomewhereInTheAnswer) {
  EXPECT_THAT(rewards_of({.pattern = "^<think>.*</think>"},
                         {"<think>a</think>b", "b<think>a</think>", "<think>\n</think>"}),
              ElementsAre(1, 0, 0));
  EXPECT_THAT(rewards_of({.pattern = "(?s)^<t>.*</t>$", .correct = 2, .wrong = -1},
                         {"<t>\n</t>", "<t></t>!"}),
              ElementsAre(2, -1));
}

TEST(FormatReward, TriesTextsThatAreCutInsideACharacterOrHostile) {
  EXPECT_THAT(rewards_of({.pattern = "a.b"}, {"a\xC3\xA9"
                                              "b",
                                              "a\xC3"}),
              ElementsAre(1, 0));
  FormatReward interface({.pattern = "^(a+)+$"});
  EXPECT_THAT(rewards_of(interface, answers({std::string(60, 'a') + "b", "aa"})),
              ElementsAre(0, 1));
  EXPECT_EQ(interface.take_statistics().value("undecided"), 1);
}

TEST(FormatReward, BoundsTheLengthInTokens) {
  EXPECT_THAT(
      rewards_of({.pattern = "", .min_tokens = 2, .max_tokens = 3}, {"a", "ab", "abc", "abcd"}),
      ElementsAre(0, 1, 1, 0));
}

data::SequenceBatch with_rewards(data::SequenceBatch batch, const char* key,
                                 const std::vector<float>& values) {
  data::NestedLengths lengths;
  lengths.add_sample(std::vector<int32_t>(values.size(), 1));
  batch.set(key, at::tensor(values, at::kFloat), lengths);
  return batch;
}

TEST(CombinedReward, IsTheWeightedSumAndKeepsTheParts) {
  CombinedReward interface({.rewards = "math:1.0, format:0.5"});
  const data::SequenceBatch batch =
      with_rewards(with_rewards(answers({"a", "b"}), "math", {1, 0}), "format", {0, 3});

  EXPECT_THAT(rewards_of(interface, batch), ElementsAre(1, 1.5));
  const metrics::Statistics statistics = interface.take_statistics();
  EXPECT_EQ(statistics.value("reward/math"), 0.5);
  EXPECT_EQ(statistics.value("reward/format"), 1.5);
  EXPECT_EQ(statistics.value("reward"), 1.25);
}

TEST(CombinedReward, LeavesOutWhatOneOfThemLeavesOut) {
  CombinedReward interface({.rewards = "math:1.0, format:0"});
  const data::SequenceBatch batch =
      with_rewards(with_rewards(answers({"a", "b"}), "math", {1, 1}), "format", {NAN, 3});

  const std::vector<float> got = rewards_of(interface, batch);

  EXPECT_TRUE(std::isnan(got[0]));
  EXPECT_EQ(got[1], 1);
  EXPECT_EQ(interface.take_statistics().value("reward/format"), 3);
}

std::vector<std::string> problems_of(const std::string& inputs, const std::string& options) {
  const config::LoadResult loaded = config::load_experiment_text(
      "[model.rule]\narchitecture = none\n[call.c]\nmodel = rule\nkind = inference\nn_seqs = 4\n"
      "outputs = rewards\ninputs = packed_input_ids, prompt_mask" +
          inputs + "\n" + options + "\n",
      "here.cfg", interface_schemas());
  std::vector<config::Problem> problems, warnings;
  for (const config::Problem& problem : loaded.problems) {
    if (problem.text.find("call.c") != std::string::npos) problems.push_back(problem);
  }
  check_calls(loaded.experiment, problems, warnings);
  std::vector<std::string> texts;
  for (const config::Problem& problem : problems) texts.push_back(problem.message());
  return texts;
}

TEST(CombinedReward, ItsWeightsAndInputsBelongTogether) {
  const std::string combined = "interface = combined_reward\nrewards = ";
  EXPECT_THAT(problems_of(", math, format", combined + "math:1, format:0.2"), IsEmpty());
  EXPECT_THAT(problems_of(", math", combined + "math:1, fromat:0.2"),
              ElementsAre(HasSubstr("fromat is not among the inputs")));
  EXPECT_THAT(problems_of(", math, format", combined + "math:1"),
              ElementsAre(HasSubstr("the key format has no weight")));
  EXPECT_THAT(problems_of(", math, format", combined + "math:0, format:0.0"),
              ElementsAre(HasSubstr("every weight is 0")));
  EXPECT_THAT(problems_of(", math, format", combined + "math:1, format:0"), IsEmpty());
  EXPECT_THAT(problems_of(", math", combined + "math"),
              Contains(HasSubstr("must be a list as math:1.0, format:0.2")));
  EXPECT_THAT(problems_of(", math", combined + "math:much"),
              Contains(HasSubstr("'much' is not a number")));
  EXPECT_THAT(problems_of(", math", combined + "math:1, math:2"),
              Contains(HasSubstr("math stands there twice")));
}

TEST(FormatReward, RefusesWhatCannotBeMeant) {
  const std::string form = "interface = format_reward\n";
  EXPECT_THAT(problems_of("", form + "pattern = ^a$"), IsEmpty());
  EXPECT_THAT(problems_of("", form), ElementsAre(HasSubstr("every answer has the form")));
  EXPECT_THAT(problems_of("", form + "pattern = (a"),
              Contains(HasSubstr("is no regular expression: at character 3, missing closing")));
  EXPECT_THAT(problems_of("", form + "min_tokens = 5\nmax_tokens = 4"),
              ElementsAre(HasSubstr("no answer has 5 tokens or more and at most 4")));
}

}  // namespace
}  // namespace orrery::algorithm
