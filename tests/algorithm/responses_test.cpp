#include "orrery/algorithm/responses.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/temporary_folder.h"
#include "orrery/data/tokenizer.h"

namespace orrery::algorithm {
namespace {

/// Sample 4 answers `1+1=` with `2` and the end token and with `3`, cut; sample 9 answers `x` with
/// a byte that is no character.
data::SequenceBatch batch_of_two_samples() {
  constexpr int64_t kEos = data::ByteTokenizer::kEos;
  data::SequenceBatch batch;
  batch.meta.ids = {{4}, {9}};
  const at::Tensor tokens = at::tensor(
      {int64_t{'1'}, int64_t{'+'}, int64_t{'1'}, int64_t{'='}, int64_t{'2'}, kEos, int64_t{'1'},
       int64_t{'+'}, int64_t{'1'}, int64_t{'='}, int64_t{'3'}, int64_t{'x'}, int64_t{0xC3}},
      at::kLong);
  const at::Tensor is_prompt =
      at::tensor({1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 0}, at::kInt).to(at::kBool);
  const data::NestedLengths lengths = {{6, 5}, {2}};
  batch.set("packed_input_ids", tokens, lengths);
  batch.set("prompt_mask", is_prompt, lengths);
  batch.set("answers", at::tensor({uint8_t{'2'}, uint8_t{'4'}, uint8_t{'2'}}, at::kByte),
            {{1}, {2}});
  return batch;
}

TEST(Responses, AreSampleMajorWithPromptTextAnswerAndEnd) {
  const std::vector<Response> got = responses_of(batch_of_two_samples(), data::ByteTokenizer());

  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(got[0].prompt, "1+1=");
  EXPECT_EQ(got[0].text, "2");
  EXPECT_EQ(got[0].answer, "2");
  EXPECT_TRUE(got[0].ended);
  EXPECT_EQ(got[0].n_tokens, 2);
  EXPECT_EQ(got[1].sample.value, 4u);
  EXPECT_EQ(got[1].member, 1);
  EXPECT_EQ(got[1].text, "3");
  EXPECT_FALSE(got[1].ended);
  EXPECT_EQ(got[2].sample.value, 9u);
  EXPECT_EQ(got[2].member, 0);
  EXPECT_EQ(got[2].answer, "42");
}

/// A text ends with `2` as well, which is a token like others.
class TwoEnds final : public data::Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text) const override { return bytes_.encode(text); }
  std::string decode(std::span<const int32_t> ids) const override { return bytes_.decode(ids); }
  std::string_view bytes_of(int32_t id) const override { return bytes_.bytes_of(id); }
  int32_t vocab_size() const override { return bytes_.vocab_size(); }
  int32_t bos_id() const override { return bytes_.bos_id(); }
  int32_t eos_id() const override { return bytes_.eos_id(); }
  std::vector<int32_t> eos_ids() const override { return {bytes_.eos_id(), '3'}; }
  int32_t pad_id() const override { return bytes_.pad_id(); }

 private:
  data::ByteTokenizer bytes_;
};

TEST(Responses, EndWithAnyOfTheEndTokensAndDoNotShowIt) {
  const std::vector<Response> got = responses_of(batch_of_two_samples(), TwoEnds());

  EXPECT_TRUE(got[0].ended);
  EXPECT_EQ(got[0].text, "2");
  EXPECT_TRUE(got[1].ended);
  EXPECT_EQ(got[1].text, "");
  EXPECT_EQ(got[1].n_tokens, 1);
  EXPECT_FALSE(got[2].ended);
}

TEST(Responses, CarryTheFieldsOfTheRecords) {
  data::SequenceBatch batch = batch_of_two_samples();
  const std::string text = R"({"a":1}{})";
  at::Tensor fields = at::empty({9}, at::kByte);
  std::copy(text.begin(), text.end(), fields.mutable_data_ptr<uint8_t>());
  batch.set("fields", fields, {{7}, {2}});

  const std::vector<Response> got = responses_of(batch, data::ByteTokenizer());

  EXPECT_EQ(got[0].fields, R"({"a":1})");
  EXPECT_EQ(got[1].fields, R"({"a":1})");
  EXPECT_EQ(got[2].fields, "{}");
}

TEST(Responses, HaveNoAnswerWhereTheRecordsHaveNone) {
  const std::string keys[] = {"packed_input_ids", "prompt_mask"};
  for (const Response& response :
       responses_of(batch_of_two_samples().select(keys), data::ByteTokenizer())) {
    EXPECT_EQ(response.answer, "");
  }
}

TEST(DumpResponses, SayNothingOfARecordThatIsNotKnown) {
  const TemporaryFolder folder;

  dump_responses(folder.path(), 1, 0, responses_of(batch_of_two_samples(), data::ByteTokenizer()),
                 {1, 0, 0});

  std::ifstream file(folder / "step-00000001-rank-0.jsonl");
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  EXPECT_EQ(nlohmann::json::parse(line)["record"], nullptr);
}

TEST(DumpResponses, AppendsOneJsonObjectEachAlsoForHalfACharacter) {
  const TemporaryFolder folder;
  data::SequenceBatch batch = batch_of_two_samples();
  batch.meta.extra["dataset"] = {"\"train\"", "\"more\""};
  batch.meta.extra["record"] = {R"({"line":7,"id":"a1"})", R"({"line":9})"};
  const std::vector<Response> responses = responses_of(batch, data::ByteTokenizer());

  dump_responses(folder.path(), 12, 3, responses, {1, 0, -0.5});

  std::ifstream file(folder / "step-00000012-rank-3.jsonl");
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], nlohmann::json({{"step", 12},
                                      {"id", 4},
                                      {"member", 0},
                                      {"prompt", "1+1="},
                                      {"response", "2"},
                                      {"answer", "2"},
                                      {"reward", 1.0},
                                      {"finish", "eos"},
                                      {"dataset", "train"},
                                      {"record", {{"line", 7}, {"id", "a1"}}}}));
  EXPECT_EQ(lines[1]["finish"], "length");
  EXPECT_EQ(lines[2]["reward"], -0.5);
}

}  // namespace
}  // namespace orrery::algorithm
