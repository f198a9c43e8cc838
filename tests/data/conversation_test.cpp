// Records of messages, read with the chat template of the tokenizer's directory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/temporary_folder.h"
#include "json_record.h"
#include "orrery/base/error.h"
#include "orrery/data/bpe_tokenizer.h"
#include "orrery/data/jsonl.h"
#include "row_reader.h"

namespace orrery::data {
namespace {

using testing::HasSubstr;

constexpr const char* kPlain =
    "{% for m in messages %}{{ '<' + m.role + '>' + m.content | trim + eos_token + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}";

class Conversations : public testing::Test {
 protected:
  Conversations() {
    std::filesystem::copy_file(
        std::string(ORRERY_SOURCE_DIR) + "/tests/fixtures/tokenizer/tokenizer.json",
        folder_ / "tokenizer.json");
    use_template(kPlain);
    dataset_.path = (folder_ / "data.jsonl").string();
    dataset_.messages_field = "messages";
    dataset_.kind = "completions";
    dataset_.add_bos = "false";
  }

  void use_template(const std::string& text) {
    std::ofstream(folder_ / "tokenizer_config.json")
        << nlohmann::json{{"eos_token", "<|eos|>"}, {"chat_template", text}};
    tokenizer_ = BpeTokenizer::open(folder_.path());
  }

  std::string parse(const std::string& messages, Record& record) {
    return RecordParser(dataset_, *tokenizer_).parse("{\"messages\": " + messages + "}", record);
  }
  std::string problem(const std::string& messages) {
    Record record;
    return parse(messages, record);
  }

  TemporaryFolder folder_;
  config::DatasetConfig dataset_;
  std::unique_ptr<BpeTokenizer> tokenizer_;
};

constexpr const char* kTurns =
    R"([{"role": "system", "content": "Brief."}, {"role": "user", "content": " 1+1 "},
        {"role": "assistant", "content": "2"}, {"role": "user", "content": "2+2"},
        {"role": "assistant", "content": "4"}])";

TEST_F(Conversations, GiveThePromptUpToTheLastAnswerAndThatAnswer) {
  Record record;
  ASSERT_EQ(parse(kTurns, record), "");
  EXPECT_EQ(record.whole_prompt,
            "<system>Brief.<|eos|>\n<user>1+1<|eos|>\n<assistant>2<|eos|>\n<user>2+2<|eos|>\n"
            "<assistant>");
  EXPECT_EQ(record.completion, "4");
  EXPECT_EQ(record.prompt, "2+2");
}

TEST_F(Conversations, OfKindPromptsEndWithWhatIsToBeAnswered) {
  dataset_.kind = "prompts";
  Record record;
  ASSERT_EQ(parse(R"([{"role": "user", "content": "Q"}])", record), "");
  EXPECT_EQ(record.whole_prompt, "<user>Q<|eos|>\n<assistant>");
  EXPECT_THAT(problem(kTurns), HasSubstr("the last one is what the model answers"));
}

TEST_F(Conversations, BecomeTheTokensOfTheirText) {
  std::ofstream(dataset_.path) << nlohmann::json{{"messages", nlohmann::json::parse(kTurns)}}
                               << "\n";
  JsonlIndex index = JsonlIndex::build(dataset_, *tokenizer_);
  Record record;
  ASSERT_EQ(parse(kTurns, record), "");

  const TokenizedRow row = open_jsonl_rows(dataset_, std::move(index), *tokenizer_)->read(0);

  std::vector<int32_t> expected = tokenizer_->encode(record.whole_prompt);
  EXPECT_EQ(row.n_prompt, expected.size());
  const std::vector<int32_t> answer = tokenizer_->encode("4<|eos|>");
  expected.insert(expected.end(), answer.begin(), answer.end());
  EXPECT_EQ(std::vector<int32_t>(row.tokens.begin(), row.tokens.end()), expected);
}

TEST_F(Conversations, ThatCannotBeUsedAreNamed) {
  EXPECT_THAT(problem(R"("text")"), HasSubstr("must be a list of messages"));
  EXPECT_THAT(problem("[]"), HasSubstr("must be a list of messages"));
  EXPECT_THAT(problem(R"([{"role": "user"}])"), HasSubstr("without content"));
  EXPECT_THAT(problem(R"([{"role": "user", "content": [1]}])"), HasSubstr("without content"));
  EXPECT_THAT(problem(R"([{"role": "user", "content": "Q"}])"), HasSubstr("role assistant"));
  EXPECT_THAT(
      problem(R"([{"role": "user", "content": "Q"}, {"role": "assistant", "content": " "}])"),
      HasSubstr("an empty answer"));
  Record record;
  EXPECT_THAT(RecordParser(dataset_, *tokenizer_).parse(R"({"prompt": "Q"})", record),
              HasSubstr("field \"messages\" is missing"));
}

TEST_F(Conversations, AreRefusedWhereTheTemplateDoesNotLetAnAnswerBeToldFromItsPrompt) {
  const char* const one =
      R"([{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}])";
  use_template("{% for m in messages %}{{ m.role + m.content }}{% endfor %}");
  EXPECT_THAT(problem(one),
              HasSubstr("does not end an answer with the tokenizer's end token <|eos|>"));
  use_template(
      "{{ messages | length }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}");
  EXPECT_THAT(problem(one), HasSubstr("otherwise than without it"));
  use_template("{{ strftime_now('%Y') }}");
  EXPECT_THAT(problem(one), HasSubstr("the chat template: the function strftime_now()"));
}

TEST_F(Conversations, WantAChatTemplate) {
  std::ofstream(folder_ / "tokenizer_config.json") << R"({"eos_token": "<|eos|>"})";
  tokenizer_ = BpeTokenizer::open(folder_.path());
  EXPECT_THROW(RecordParser(dataset_, *tokenizer_), ConfigError);
  EXPECT_THROW(RecordParser(dataset_, ByteTokenizer()), ConfigError);
}

}  // namespace
}  // namespace orrery::data
