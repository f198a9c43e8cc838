// A model as judge: its verdicts are what the same model writes when it is asked by hand.
#include "orrery/algorithm/judge_reward.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "algorithm/model_for_test.h"
#include "orrery/algorithm/generation.h"
#include "orrery/base/error.h"
#include "orrery/base/hash.h"
#include "orrery/config/experiment.h"
#include "support/thread_communicator.h"

namespace orrery::algorithm {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// Bytes as others than those of the byte tokenizer: every id one higher.
class ShiftedBytes final : public data::Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c) + 1);
    return ids;
  }
  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id >= 1 && id <= 256) text.push_back(static_cast<char>(id - 1));
    }
    return text;
  }
  std::string_view bytes_of(int32_t) const override { return {}; }
  int32_t vocab_size() const override { return 259; }
  int32_t bos_id() const override { return 0; }
  int32_t eos_id() const override { return 257; }
  int32_t pad_id() const override { return 258; }
};

class JudgeRewardTest : public testing::Test {
 protected:
  JudgeRewardTest() : decoder_(architecture(), at::kFloat, c10::kCPU) {
    decoder_.parameters().initialise(7);
    call_.call = "reward";
    call_.step = 3;
    call_.seed = 4;
  }

  static model::Architecture architecture() {
    model::Architecture a = tiny_architecture();
    a.max_positions = 160;
    return a;
  }

  /// Samples 5 and 9, each with two answers to `2+2=`, whose reference is 4.
  static data::SequenceBatch answers() {
    const data::ByteTokenizer tokenizer;
    std::vector<int64_t> ids;
    std::vector<bool> is_prompt;
    data::NestedLengths nested;
    for (const std::vector<std::string>& texts :
         {std::vector<std::string>{"4", "five"}, {"I do not know", "4."}}) {
      std::vector<int32_t> lengths;
      for (const std::string& text : texts) {
        const std::vector<int32_t> tokens = tokenizer.encode("2+2=" + text);
        for (size_t i = 0; i < tokens.size(); ++i) {
          ids.push_back(tokens[i]);
          is_prompt.push_back(i < 4);
        }
        lengths.push_back(static_cast<int32_t>(tokens.size()));
      }
      nested.add_sample(lengths);
    }
    data::SequenceBatch batch;
    batch.meta.ids = {{5}, {9}};
    batch.set("packed_input_ids", at::tensor(ids, at::kLong), nested);
    batch.set("prompt_mask",
              at::tensor(std::vector<int32_t>(is_prompt.begin(), is_prompt.end())).to(at::kBool),
              nested);
    batch.set("answers", at::tensor({52, 52}, at::kByte), data::NestedLengths{{1}, {1}});
    return batch;
  }

  std::vector<float> rewards(const JudgeRewardOptions& options, const data::SequenceBatch& batch) {
    JudgeReward interface(options);
    return rewards(interface, batch);
  }

  std::vector<float> rewards(JudgeReward& interface, const data::SequenceBatch& batch) {
    std::vector<float> result;
    comm::run_as_threads(1, [&](comm::Communicator& group) {
      ModelContext model{.decoder = &decoder_,
                         .tokenizer = tokenizer_,
                         .data_tokenizer = &bytes_,
                         .data_group = &group};
      const at::Tensor got = interface.inference(model, batch, call_).at("rewards");
      statistics_ = interface.take_statistics();
      result.assign(got.const_data_ptr<float>(), got.const_data_ptr<float>() + got.numel());
    });
    return result;
  }

  /// What the judge writes to one text, asked alone; empty where it may draw.
  std::string by_hand(const std::string& text, double temperature, uint64_t sample, int member) {
    const std::vector<int32_t> ids = tokenizer_->encode(text);
    const model::PackedTokens prompt =
        model::pack_tokens(at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong),
                           std::vector<int32_t>{static_cast<int32_t>(ids.size())});
    const model::SamplingKey key{.seed = call_.seed ^ base::hash64(call_.call),
                                 .step = static_cast<uint64_t>(call_.step),
                                 .sample = sample,
                                 .first_member = static_cast<uint64_t>(member)};
    const auto result = model::Generator(decoder_).generate(
        prompt, std::vector{key},
        {.max_new_tokens = 60,
         .temperature = temperature,
         .stop_ids = stop_ids(*tokenizer_),
         .never_ids = data::ids_without_token(*tokenizer_, 259)});
    const auto& tokens = result.sequences[0].tokens;
    return tokenizer_->decode(std::vector<int32_t>(tokens.begin(), tokens.end()));
  }

  void expect_verdicts_by_hand(double temperature) {
    const std::vector<float> got =
        rewards({.text_template = "Q: {prompt}\\nA: {response}\\nR: {answer}\\n",
                 .verdict = "([0-9a-f])",
                 .max_new_tokens = 60,
                 .temperature = temperature,
                 .max_batch = 2,
                 .max_failed_share = 1},
                answers());
    const std::pair<uint64_t, std::vector<std::string>> samples[] = {{5, {"4", "five"}},
                                                                     {9, {"I do not know", "4."}}};
    size_t i = 0, n_numbers = 0;
    for (const auto& [sample, texts] : samples) {
      for (size_t member = 0; member < texts.size(); ++member, ++i) {
        const std::string said = by_hand("Q: 2+2=\nA: " + texts[member] + "\nR: 4\n", temperature,
                                         sample, static_cast<int>(member));
        const size_t last = said.find_last_of("0123456789abcdef");
        const bool is_number = last != said.npos && said[last] <= '9';
        EXPECT_EQ(std::isnan(got[i]), !is_number) << said;
        if (is_number) {
          EXPECT_EQ(got[i], static_cast<float>(said[last] - '0')) << said;
        }
        n_numbers += is_number ? 1 : 0;
      }
    }
    EXPECT_NEAR(statistics_.value("abstained_share").value(),
                1 - static_cast<double>(n_numbers) / 4, 1e-9);
    if (temperature > 0) {
      EXPECT_GT(n_numbers, 0u) << "else nothing was compared";
    }
  }

  model::Decoder decoder_;
  data::ByteTokenizer bytes_;
  const data::Tokenizer* tokenizer_ = &bytes_;
  CallContext call_;
  metrics::Statistics statistics_;
};

TEST_F(JudgeRewardTest, GivesTheNumberThatTheModelWritesWhenItIsAskedByHand) {
  expect_verdicts_by_hand(0);
  expect_verdicts_by_hand(1);
}

TEST_F(JudgeRewardTest, AsksAJudgeOfAnotherTokenizerInItsOwnTokens) {
  const ShiftedBytes others;
  tokenizer_ = &others;

  expect_verdicts_by_hand(0);
  expect_verdicts_by_hand(1);
}

TEST_F(JudgeRewardTest, ScalesTheNumberAndLeavesOutWhatHasNone) {
  const JudgeRewardOptions plain{.text_template = "{response}",
                                 .verdict = "([0-9])",
                                 .max_new_tokens = 60,
                                 .temperature = 1,
                                 .max_failed_share = 1};
  JudgeRewardOptions scaled = plain;
  scaled.output_bias = 4;
  scaled.output_scaling = 0.5;
  const std::vector<float> numbers = rewards(plain, answers());

  const std::vector<float> got = rewards(scaled, answers());

  for (size_t i = 0; i < got.size(); ++i) {
    if (!std::isnan(numbers[i])) {
      EXPECT_EQ(got[i], (numbers[i] - 4) / 2);
    }
  }
  JudgeRewardOptions never = plain;
  never.verdict = "no such thing ([0-9])";
  for (const float reward : rewards(never, answers())) EXPECT_TRUE(std::isnan(reward));
  EXPECT_EQ(statistics_.value("abstained_share"), 1);
  EXPECT_EQ(statistics_.value("failed/abstained"), 4);
}

TEST_F(JudgeRewardTest, StopsTheJobWhenTheJudgeGivesANumberToTooFew) {
  JudgeReward never({.text_template = "{response}", .verdict = "ZZZQ([0-9])", .max_new_tokens = 4});

  try {
    rewards(never, answers());
    FAIL() << "every answer is left out";
  } catch (const CallError& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("4 of 4 answers of the step have no reward"),
                      HasSubstr("at most a share of 0.5"), HasSubstr("abstained 4: 5/0 ("),
                      HasSubstr("verdict"), HasSubstr("call.reward.max_failed_share sets")));
  }
}

TEST_F(JudgeRewardTest, StopsTheJobWhenFewerAreTooManyOverTwentySteps) {
  const JudgeRewardOptions options{.text_template = "{response}",
                                   .verdict = "ZZZQ([0-9])",
                                   .max_new_tokens = 1,
                                   .max_failed_share = 1};
  JudgeReward judge(options);
  for (call_.step = 1; call_.step < 20; ++call_.step) rewards(judge, answers());
  JudgeReward resumed(options);
  resumed.restore(judge.state());

  EXPECT_THROW(rewards(resumed, answers()), CallError);
}

TEST_F(JudgeRewardTest, CountsAnswersThatAreTooLongForTheJudge) {
  const std::string around(150, 'x');

  rewards({.text_template = around + "{response}",
           .verdict = "(.)",
           .max_new_tokens = 4,
           .max_failed_share = 1},
          answers());

  EXPECT_EQ(statistics_.value("failed/too_long"), 1) << "150 + `I do not know`";
}

TEST(JudgePrompt, FillsEachPlaceOnceAndLooksAtNothingThatWasPutIn) {
  Response response;
  response.prompt = "rendered";
  response.text = "{answer}{prompt}";
  response.answer = "{response}";
  EXPECT_EQ(judge_prompt("{{prompt}|{response}|{answer}|{other}", response),
            "{rendered|{answer}{prompt}|{response}|{other}");
  Response of_record = response;
  of_record.record_prompt = "as it stands";
  EXPECT_EQ(judge_prompt("{prompt}{prompt}", of_record), "as it standsas it stands");
}

std::vector<std::string> problems(const std::string& text_template, const std::string& verdict,
                                  const std::vector<config::KeyBinding>& inputs) {
  config::CallConfig call;
  call.inputs = inputs;
  std::vector<std::string> texts;
  for (const OptionProblem& problem :
       JudgeRewardOptions{.text_template = text_template, .verdict = verdict}.problems(call)) {
    texts.push_back(problem.key + " " + problem.text);
  }
  return texts;
}

TEST(JudgeRewardOptions, RefuseAScalingThatMakesAllRewardsOne) {
  const config::CallConfig call;
  const JudgeRewardOptions options{
      .text_template = "{response}", .verdict = "(.)", .output_scaling = 0};
  ASSERT_EQ(options.problems(call).size(), 1u);
  EXPECT_EQ(options.problems(call)[0].key, "output_scaling");
}

TEST(JudgeRewardOptions, NamesATemplateOrAnExpressionThatGivesNothing) {
  const std::vector<config::KeyBinding> tokens = {{"packed_input_ids", "packed_input_ids"}};
  std::vector<config::KeyBinding> all = tokens;
  all.push_back({"answers", "answers"});

  EXPECT_THAT(problems("{response} {answer}", "(\\d+)", all), IsEmpty());
  EXPECT_THAT(problems("{prompt}", "(\\d+)", all), ElementsAre(HasSubstr("has no {response}")));
  EXPECT_THAT(problems("{response} {answer}", "(\\d+)", tokens),
              ElementsAre(HasSubstr("answers is no input of the call")));
  EXPECT_THAT(problems("{response}", "\\d+", all), ElementsAre(HasSubstr("has no group")));
  EXPECT_THAT(problems("{response}", "(?:\\d+)", all), ElementsAre(HasSubstr("has no group")));
  EXPECT_THAT(problems("{response}", "", all), ElementsAre(HasSubstr("is empty")));
}

TEST(TextPattern, GivesTheFirstGroupOfTheLastMatch) {
  const TextPattern score("[Ss]core: *(-?[0-9.]+)");
  EXPECT_EQ(score.last_group("score: 3, no: Score:-4.5!"), "-4.5");
  EXPECT_EQ(score.last_group("none"), std::nullopt);
  EXPECT_EQ(score.last_group(""), std::nullopt);
  EXPECT_EQ(TextPattern("(a)|b").last_group("ab"), std::nullopt) << "it took no part in the last";
  EXPECT_EQ(TextPattern("(x*)").last_group("\xC3\xA9 x \xFF"), "") << "also behind bytes";
  EXPECT_EQ(TextPattern("(a+)+$").last_group(std::string(60, 'a') + "b"), std::nullopt);
  EXPECT_EQ(TextPattern("(?:a)(b)(c)").n_groups(), 2);
}

}  // namespace
}  // namespace orrery::algorithm
