// Which tokens of a Hugging Face directory are the marks, and what of a tokenizer.json is refused.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/temporary_folder.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/data/bpe_tokenizer.h"
#include "orrery/data/dataset.h"
#include "orrery/data/prompt_template.h"

namespace orrery::data {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

json fixture() {
  return json::parse(
      base::read_file(std::string(ORRERY_SOURCE_DIR) + "/tests/fixtures/tokenizer/tokenizer.json"));
}

/// tests/fixtures/tokenizer (<|bos|> 0, <|eos|> 1, <|pad|> 2) with these files beside it.
std::unique_ptr<BpeTokenizer> tokenizer_with(const std::map<std::string, std::string>& files) {
  const TemporaryFolder folder;
  std::ofstream(folder / "tokenizer.json") << fixture();
  for (const auto& [name, content] : files) std::ofstream(folder / name) << content;
  return BpeTokenizer::open(folder.path());
}

TEST(TokenizerDirectory, TakesAllEndTokensOfTheGenerationConfiguration) {
  const auto tokenizer =
      tokenizer_with({{"tokenizer_config.json", R"({"eos_token": "<|eos|>"})"},
                      {"generation_config.json", R"({"eos_token_id": [2, 1, 300, 5000, -1, "x"]})"},
                      {"config.json", R"({"eos_token_id": 7})"}});

  EXPECT_EQ(tokenizer->eos_id(), 1);
  EXPECT_EQ(tokenizer->eos_ids(), (Ids{1, 2, 300}));
}

TEST(TokenizerDirectory, TakesThoseOfTheModelWhereThereIsNoGenerationConfiguration) {
  const auto tokenizer =
      tokenizer_with({{"tokenizer_config.json", R"({"eos_token": "<|eos|>"})"},
                      {"config.json", R"({"eos_token_id": [7, 8], "bos_token_id": 0})"}});

  EXPECT_EQ(tokenizer->eos_ids(), (Ids{1, 7, 8}));
  EXPECT_EQ(tokenizer->bos_id(), 0);
  EXPECT_EQ(tokenizer_with({{"config.json", R"({"eos_token_id": [7, 8]})"}})->eos_ids(),
            (Ids{7, 8}));
}

TEST(TokenizerDirectory, WithoutAnEndTokenIsRefused) {
  EXPECT_THROW(tokenizer_with({}), ConfigError);
  EXPECT_THROW(tokenizer_with({{"config.json", R"({"eos_token_id": 99999})"}}), ConfigError);
}

TEST(TokenizerDirectory, ItsTemplateSaysWhatAPromptBeginsWith) {
  const auto marks_with = [](const std::string& more) {
    return tokenizer_with({{"tokenizer_config.json", R"({"eos_token": "<|eos|>")" + more + "}"}})
        ->template_tokens();
  };

  EXPECT_EQ(marks_with(""), (Ids{0}));  // of tokenizer.json
  EXPECT_EQ(marks_with(R"(, "bos_token": "<|bos|>", "add_bos_token": false)"), Ids{});
  EXPECT_EQ(marks_with(R"(, "bos_token": "<|bos|>", "add_bos_token": true)"), (Ids{0}));
  EXPECT_EQ(marks_with(R"(, "bos_token": "<|pad|>", "add_bos_token": true)"), (Ids{2, 0}));
  EXPECT_EQ(marks_with(R"(, "add_bos_token": true)"), (Ids{0}));  // of no token: as the file says
}

TEST(TokenizerDirectory, BeginningMarksComeOnceAndAsTheDataSetSays) {
  const auto tokenizer = tokenizer_with({{"tokenizer_config.json", R"({"eos_token": "<|eos|>"})"}});
  const TemporaryFolder folder;
  std::ofstream(folder / "d.jsonl") << "{\"prompt\": \"12\"}\n{\"prompt\": \"<|bos|>12\"}\n";
  const auto prompts_with = [&](const char* add_bos) {
    config::DatasetConfig config;
    config.path = (folder / "d.jsonl").string();
    config.add_bos = add_bos;
    const auto dataset = Dataset::open(config, DatasetIndex::build(config, *tokenizer), *tokenizer);
    const SequenceBatch batch =
        dataset->read(std::vector<int64_t>{0, 1}, std::vector<SampleId>{{1}, {2}});
    const auto* ids = batch.at("packed_prompts").const_data_ptr<int64_t>();
    return Ids(ids, ids + batch.at("packed_prompts").numel());
  };

  EXPECT_EQ(prompts_with("auto"), (Ids{0, 320, 0, 320}));
  EXPECT_EQ(prompts_with("true"), (Ids{0, 320, 0, 320}));
  EXPECT_EQ(prompts_with("false"), (Ids{320, 0, 320}));
  EXPECT_EQ(beginning_tokens("auto", ByteTokenizer()), Ids{});
  EXPECT_EQ(beginning_tokens("true", ByteTokenizer()), Ids{ByteTokenizer::kBos});
}

TEST(TokenizerDirectory, BeginningMarksCountAsTokensOfThePrompt) {
  const auto tokenizer = tokenizer_with({{"tokenizer_config.json", R"({"eos_token": "<|eos|>"})"}});
  const TemporaryFolder folder;
  std::ofstream(folder / "d.jsonl") << "{\"prompt\": \"12\"}\n";
  config::DatasetConfig config;
  config.path = (folder / "d.jsonl").string();
  config.max_prompt_tokens = 1;

  EXPECT_THROW(DatasetIndex::build(config, *tokenizer), DataError);
  config.add_bos = "false";
  EXPECT_EQ(DatasetIndex::build(config, *tokenizer).n_rows(), 1);
}

TEST(TokenizerDirectory, MayHaveAChatTemplate) {
  const TemporaryFolder folder;
  EXPECT_FALSE(has_chat_template(folder.path()));
  std::ofstream(folder / "tokenizer_config.json") << R"({"chat_template": null})";
  EXPECT_FALSE(has_chat_template(folder.path()));
  std::ofstream(folder / "tokenizer_config.json") << R"({"chat_template": "{{ x }}"})";
  EXPECT_TRUE(has_chat_template(folder.path()));
  std::filesystem::remove(folder / "tokenizer_config.json");
  std::ofstream(folder / "chat_template.jinja") << "{{ x }}";
  EXPECT_TRUE(has_chat_template(folder.path()));
}

TEST(TokenizerDirectory, PrefixesMayNameItsSpecialTokens) {
  const auto tokenizer = tokenizer_with({{"tokenizer_config.json", R"({"eos_token": "<|eos|>"})"}});
  config::DatasetConfig config;
  config.prompt_prefix = "<|bos|>";
  config.prompt_suffix = "<|eos|><|assistant|>";

  const std::vector<std::string> remarks = marks_taken_as_text(config, *tokenizer);

  ASSERT_EQ(remarks.size(), 1U);
  EXPECT_NE(remarks[0].find("prompt_suffix: <|assistant|>"), std::string::npos) << remarks[0];
}

/// One change to a tokenizer.json that this program does not run.
struct Refused {
  const char* name;
  std::string patch;  // of the file (JSON merge patch)
  std::string part;   // what the error calls it
};

class RefusedTokenizer : public testing::TestWithParam<Refused> {};

TEST_P(RefusedTokenizer, NamesThePartAndTheCommandThatTokenisesInstead) {
  json file = fixture();
  file.merge_patch(json::parse(GetParam().patch));
  try {
    BpeTokenizer::parse(file.dump(), "DIR/tokenizer.json");
    ADD_FAILURE() << GetParam().part << " was accepted";
  } catch (const ConfigError& error) {
    const std::string text = error.what();
    EXPECT_EQ(error.exit_code(), 2);
    EXPECT_NE(text.find("DIR/tokenizer.json: " + GetParam().part), std::string::npos) << text;
    EXPECT_NE(text.find("tools/tokenize.py --tokenizer DIR/tokenizer.json DATA.jsonl DATA.h5"),
              std::string::npos)
        << text;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Parts, RefusedTokenizer,
    testing::Values(
        Refused{"unigram", R"({"model": {"type": "Unigram"}})", "model Unigram is not supported"},
        Refused{"word_piece", R"({"model": {"type": "WordPiece"}})", "model WordPiece"},
        Refused{"word_level", R"({"model": {"type": "WordLevel"}})", "model WordLevel"},
        Refused{"byte_fallback", R"({"model": {"byte_fallback": true}})", "model.byte_fallback"},
        Refused{"subword_prefix", R"({"model": {"continuing_subword_prefix": "##"}})",
                "model.continuing_subword_prefix"},
        Refused{"word_suffix", R"({"model": {"end_of_word_suffix": "</w>"}})",
                "model.end_of_word_suffix"},
        Refused{"dropout", R"({"model": {"dropout": 0.1}})", "model.dropout"},
        Refused{"lowercase", R"({"normalizer": {"type": "Lowercase"}})", "normalizer Lowercase"},
        Refused{"bert_normalizer", R"({"normalizer": {"type": "BertNormalizer"}})",
                "normalizer BertNormalizer"},
        Refused{"precompiled", R"({"normalizer": {"type": "Precompiled"}})",
                "normalizer Precompiled"},
        Refused{"strip_in_a_sequence",
                R"({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"},
                                                                        {"type": "Strip"}]}})",
                "normalizer Strip"},
        Refused{"sequence_in_a_sequence",
                R"({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Sequence"}]}})",
                "a normalizer Sequence in a Sequence"},
        Refused{"bert_pre_tokenizer", R"({"pre_tokenizer": {"type": "BertPreTokenizer"}})",
                "pre_tokenizer BertPreTokenizer"},
        Refused{"whitespace", R"({"pre_tokenizer": {"type": "Whitespace"}})",
                "pre_tokenizer Whitespace"},
        Refused{"no_pre_tokenizer", R"({"pre_tokenizer": null})", "pre_tokenizer is not supported"},
        Refused{"behind_byte_level",
                R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers":
                    [{"type": "ByteLevel"}, {"type": "Digits"}]}})",
                "pre_tokenizer Digits behind ByteLevel"},
        Refused{"behaviour",
                R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "x"},
                                      "behavior": "Odd"}})",
                "pre_tokenizer.behavior Odd"},
        Refused{"pattern",
                R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers":
                    [{"type": "Split", "pattern": {"Regex": "\\h+"}, "behavior": "Isolated"},
                     {"type": "ByteLevel"}]}})",
                "the pattern"},
        Refused{"bert_processing", R"({"post_processor": {"type": "BertProcessing"}})",
                "post_processor BertProcessing"},
        Refused{"roberta_processing", R"({"post_processor": {"type": "RobertaProcessing"}})",
                "post_processor RobertaProcessing"},
        Refused{"no_decoder", R"({"decoder": null})", "no decoder"},
        Refused{"word_piece_decoder", R"({"decoder": {"type": "WordPiece"}})", "decoder WordPiece"},
        Refused{"fallback_decoder",
                R"({"decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"},
                                                                  {"type": "Fuse"}]}})",
                "decoder Sequence"}),
    [](const auto& of) { return of.param.name; });

}  // namespace
}  // namespace orrery::data
