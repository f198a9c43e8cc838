// The answers of an evaluation and what is made of them: the same whatever the batch, prompts
// prefilled once, right by rule or by reward, votes that are never both right and wrong.
#include "orrery/algorithm/evaluation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/temporary_folder.h"
#include "model_for_test.h"
#include "orrery/base/json.h"

namespace orrery::algorithm {
namespace {

/// Gives each answer its place modulo 3 minus 1; every third one nothing.
class Ranking final : public Interface {
 public:
  data::SequenceBatch inference(ModelContext&, const data::SequenceBatch& input,
                                const CallContext&) override {
    ++n_calls;
    const data::NestedLengths& lengths = input.meta.at("packed_input_ids").lengths;
    std::vector<float> rewards;
    for (int64_t i = 0; i < lengths.n_sequences(); ++i) {
      rewards.push_back(i % 3 == 2 ? NAN : static_cast<float>(i % 3));
    }
    data::SequenceBatch output;
    output.meta.ids = input.meta.ids;
    data::NestedLengths ones;
    for (size_t i = 0; i < input.size(); ++i) {
      const std::vector<int32_t> one(input.meta.at("packed_input_ids").lengths.of(i).size(), 1);
      ones.add_sample(one);
    }
    output.set("rewards", at::tensor(rewards, at::kFloat), ones);
    return output;
  }

  int n_calls = 0;
};

class EvaluationOfPrompts : public testing::Test {
 protected:
  EvaluationOfPrompts() : decoder_(tiny_architecture(), at::kDouble) {
    decoder_.parameters().initialise(5);
  }

  static constexpr int kPrompts = 7;

  /// Rows `first`, `first` + `step`, ... of some sums.
  static data::SequenceBatch prompts(int first = 0, int step = 1) {
    data::SequenceBatch batch;
    data::NestedLengths prompts, answers, fields;
    std::vector<int64_t> tokens;
    std::string all_fields;
    for (int row = first; row < kPrompts; row += step) {
      batch.meta.ids.push_back({static_cast<uint64_t>(row)});
      for (int i = 0; i <= row; ++i) tokens.push_back('0' + row);
      tokens.push_back('=');
      prompts.add_sample(row + 2);
      answers.add_sample(0);
      const std::string one = row % 2 == 0 ? "{\"level\":1}" : "{\"level\":\"b/c\"}";
      all_fields += one;
      fields.add_sample(static_cast<int32_t>(one.size()));
    }
    batch.set("packed_prompts", at::tensor(tokens, at::kLong), prompts);
    batch.set("answers", at::empty({0}, at::kByte), answers);
    batch.set("fields",
              at::from_blob(all_fields.data(), {static_cast<int64_t>(all_fields.size())}, at::kByte)
                  .clone(),
              fields);
    return batch;
  }

  static EvaluationInput input(data::SequenceBatch batch) {
    EvaluationInput input{.batch = std::move(batch), .set = "sums"};
    input.sampling = {.max_new_tokens = 5, .temperature = 1, .group_size = 4};
    return input;
  }

  Evaluation evaluate(const EvaluationInput& input, int64_t step = 3) {
    ModelContext model{.decoder = &decoder_, .tokenizer = &tokenizer_};
    CallContext call;
    call.call = "actor_train";
    call.step = step;
    return evaluate_model(model, input, MatchRule::kExact, call);
  }

  data::ByteTokenizer tokenizer_;
  model::Decoder decoder_;
};

TEST_F(EvaluationOfPrompts, IsTheSameWhateverIsDecodedTogetherAndWhoeverDoesIt) {
  EvaluationInput whole = input(prompts());
  const std::vector<metrics::EvaluatedRecord> expected = evaluate(whole).records;
  ASSERT_EQ(expected.size(), size_t{kPrompts});

  for (const int64_t max_batch : {1, 3, 28}) {
    whole.sampling.max_batch = max_batch;
    EXPECT_EQ(evaluate(whole).records, expected) << "max_batch " << max_batch;
  }
  for (int rank = 0; rank < 3; ++rank) {  // of three data ranks
    const auto part = evaluate(input(prompts(rank, 3))).records;
    for (size_t i = 0; i < part.size(); ++i) EXPECT_EQ(part[i], expected[rank + 3 * i]);
  }
  EXPECT_EQ(evaluate(whole, 9).records, expected) << "after another step";
}

TEST_F(EvaluationOfPrompts, DrawsApartFromOtherSetsAndSeeds) {
  EvaluationInput other = input(prompts());
  other.set = "products";

  EXPECT_NE(evaluate(other).records, evaluate(input(prompts())).records);
}

TEST_F(EvaluationOfPrompts, PrefillsAPromptOnceHoweverManyAnswersItGets) {
  const data::SequenceBatch batch = prompts();
  const auto n_tokens = static_cast<double>(batch.meta.at("packed_prompts").lengths.grand_total());

  for (const int64_t samples : {1, 8}) {
    for (const int64_t max_batch : {3, 256}) {
      EvaluationInput some = input(batch);
      some.sampling.group_size = samples;
      some.sampling.max_batch = max_batch;
      EXPECT_EQ(evaluate(some).statistics.value("prefilled_tokens"), n_tokens)
          << samples << " answers, " << max_batch << " at a time";
    }
  }
}

TEST_F(EvaluationOfPrompts, GivesTheValuesOfFields) {
  EvaluationInput by_level = input(prompts());
  by_level.by = {"level", "topic"};

  const auto records = evaluate(by_level).records;

  using Values = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(records[0].by, (Values{{"level", "1"}, {"topic", "none"}}));
  EXPECT_EQ(records[1].by, (Values{{"level", "b/c"}, {"topic", "none"}}));
}

TEST_F(EvaluationOfPrompts, IsRightByItsRewardWhereNoRuleIsNamed) {
  Ranking first, second;
  EvaluationInput rewarded = input(prompts());
  rewarded.rewards = {{.name = "a", .weight = 1, .interface = &first},
                      {.name = "b", .weight = 0.5, .interface = &second}};
  rewarded.correct_above = 1.25;

  const auto records = evaluate(rewarded).records;

  // Answers 0, 1, 2 of the first prompt get 0, 1 and nothing from each.
  const std::vector<metrics::EvaluatedAnswer>& answers = records[0].answers;
  EXPECT_FALSE(answers[0].is_right);
  EXPECT_TRUE(answers[1].is_right);
  EXPECT_EQ(answers[1].reward, 1.5);
  EXPECT_EQ(answers[1].parts, (std::map<std::string, double>{{"a", 1}, {"b", 1}}));
  EXPECT_FALSE(answers[2].is_rewarded);
  EXPECT_FALSE(answers[2].is_right);
  EXPECT_FALSE(answers[1].has_vote) << "no rule reads an answer";
}

TEST_F(EvaluationOfPrompts, WithoutRecordsAsksTheRewardsAllTheSame) {
  Ranking reward;
  EvaluationInput none = input({});
  none.rewards = {{.name = "a", .weight = 1, .interface = &reward}};

  const Evaluation evaluation = evaluate(none);

  EXPECT_EQ(reward.n_calls, 1) << "other data ranks may wait for this one in it";
  EXPECT_TRUE(evaluation.records.empty());
}

TEST_F(EvaluationOfPrompts, DumpsALineForEachAnswerAndReplacesAnEarlierDump) {
  const TemporaryFolder folder;
  EvaluationInput dumped = input(prompts());
  dumped.dump = folder / "sums/step-00000003-actor_train-rank-0.jsonl";

  const auto records = evaluate(dumped).records;
  evaluate(dumped);

  std::ifstream in(dumped.dump);
  size_t n = 0;
  for (std::string line; std::getline(in, line); ++n) {
    const auto answer = base::parse_json(line).value;
    const auto& record = records[n / 4];
    EXPECT_EQ(answer.at("row"), record.row);
    EXPECT_EQ(answer.at("member"), n % 4);
    EXPECT_EQ(answer.at("right"), record.answers[n % 4].is_right);
  }
  EXPECT_EQ(n, size_t{4 * kPrompts});
}

TEST(GivenAnswer, IsWhatTheRuleReads) {
  EXPECT_EQ(given_answer(MatchRule::kExact, " 4 \n"), "4");
  EXPECT_EQ(given_answer(MatchRule::kExact, " \n"), std::nullopt);
  EXPECT_EQ(given_answer(MatchRule::kNumeric, "2+2=04"), "4");
  EXPECT_EQ(given_answer(MatchRule::kNumeric, "2+2=four"), std::nullopt);
  EXPECT_EQ(given_answer(MatchRule::kMath, "so it is \\boxed{1/2}"), "1/2");
  EXPECT_TRUE(are_same_answers(MatchRule::kMath, "1/2", "0.5"));
  EXPECT_FALSE(are_same_answers(MatchRule::kExact, "1/2", "0.5"));
}

}  // namespace
}  // namespace orrery::algorithm
