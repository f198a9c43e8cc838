#include "orrery/data/tokenizer.h"

#include <gtest/gtest.h>

#include "mutated_text.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"
#include "orrery/data/bpe_tokenizer.h"

namespace orrery::data {
namespace {

TEST(ByteTokenizer, GivesEveryByteItsOwnId) {
  const ByteTokenizer tokenizer;
  std::string text;
  for (int byte = 0; byte < 256; ++byte) text.push_back(static_cast<char>(byte));

  const std::vector<int32_t> ids = tokenizer.encode(text);

  ASSERT_EQ(ids.size(), 256U);
  for (int byte = 0; byte < 256; ++byte) EXPECT_EQ(ids[static_cast<size_t>(byte)], byte);
  EXPECT_EQ(tokenizer.decode(ids), text);
  EXPECT_EQ(tokenizer.count(text), 256);
}

TEST(ByteTokenizer, DecodesMarksToNothing) {
  const ByteTokenizer tokenizer;
  const std::vector<int32_t> ids = {256, 'o', 258, 'k', 257, -1, 1000};

  EXPECT_EQ(tokenizer.decode(ids), "ok");
}

TEST(MakeTokenizer, NamesTheTokenizersThereAre) {
  EXPECT_EQ(make_tokenizer("byte")->vocab_size(), 259);
  EXPECT_EQ(make_tokenizer("byte")->eos_id(), 257);
  try {
    make_tokenizer("/no/such/folder");
    FAIL() << "there is no such tokenizer";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("byte"), std::string::npos) << error.what();
  }
}

TEST(BpeTokenizer, RefusesAnIdFarBeyondItsVocabulary) {
  const std::string file =
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 16000000}, "merges": []},
          "pre_tokenizer": {"type": "ByteLevel"}, "decoder": {"type": "ByteLevel"}})";
  try {
    BpeTokenizer::parse(file, "t.json");
    FAIL() << "a table of a gigabyte was made";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("id 16000000"), std::string::npos) << error.what();
  }
}

std::unique_ptr<BpeTokenizer> fixture(const std::string& folder) {
  const std::string file =
      base::concat(ORRERY_SOURCE_DIR, "/tests/fixtures/tokenizer/", folder, "/tokenizer.json");
  return BpeTokenizer::parse(base::read_file(file), file);
}

TEST(EncodeBehind, GivesAnAnswerNoSpaceThatOnlyTheBeginningOfATextHas) {
  const std::string prompt = "[INST] 2+3? [/INST]", answer = "The sum is 5.";
  for (const char* folder : {"llama2", "mistral", "metaspace-always"}) {
    const auto tokenizer = fixture(base::concat("characters/", folder));
    EXPECT_TRUE(tokenizer->begins_with_space()) << folder;

    std::vector<int32_t> ids = tokenizer->encode(prompt);
    const std::vector<int32_t> behind = encode_behind(*tokenizer, prompt, answer);
    ids.insert(ids.end(), behind.begin(), behind.end());

    EXPECT_EQ(ids, tokenizer->encode(prompt + answer)) << folder;
    EXPECT_NE(behind, tokenizer->encode(answer)) << folder;
  }
}

TEST(EncodeBehind, LeavesThePromptItsTokensWhereOneWouldSpanBoth) {
  const auto tokenizer = fixture("characters/llama2");
  // "in" is one token of this vocabulary, whose parts are prompt and answer here.
  std::vector<int32_t> ids = tokenizer->encode("\n");
  const std::vector<int32_t> behind = encode_behind(*tokenizer, "i", "n");
  ids.insert(ids.end(), behind.begin(), behind.end());

  EXPECT_EQ(ids, tokenizer->encode("\nn"));
  EXPECT_NE(behind, tokenizer->encode("n")) << "no space of its own either";
}

TEST(EncodeBehind, IsEncodeWhereNoSpaceIsPut) {
  const auto tokenizer = fixture("made/qwen");
  EXPECT_FALSE(tokenizer->begins_with_space());
  EXPECT_EQ(encode_behind(*tokenizer, "a b", " c"), tokenizer->encode(" c"));
  EXPECT_TRUE(fixture("made/gpt2-prefix-space")->begins_with_space());
}

TEST(BpeTokenizer, RefusesDeepJson) {
  EXPECT_THROW(BpeTokenizer::parse("{\"model\": " + deep_json() + "}", "t.json"), ConfigError);
}

}  // namespace
}  // namespace orrery::data
