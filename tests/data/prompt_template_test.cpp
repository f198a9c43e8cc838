// Texts around prompts and instructions, in all kinds of data sets.
#include "orrery/data/prompt_template.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "data/temporary_file.h"
#include "orrery/base/error.h"
#include "orrery/data/dataset.h"

namespace orrery::data {
namespace {

const ByteTokenizer kBytes;

config::DatasetConfig chat(const std::string& path, const std::string& kind) {
  config::DatasetConfig dataset;
  dataset.path = path;
  dataset.kind = kind;
  dataset.system_prefix = "[";
  dataset.system_suffix = R"(]\n)";
  dataset.prompt_prefix = R"(<u>\t)";
  dataset.prompt_suffix = R"(\\:)";
  return dataset;
}

/// The text of each sequence of a data set; ends as `.`.
std::vector<std::string> texts_of(const config::DatasetConfig& config, int64_t n_rows) {
  const auto dataset = Dataset::open(config, JsonlIndex::build(config, kBytes), kBytes);
  std::vector<int64_t> rows;
  std::vector<SampleId> ids;
  for (int64_t row = 0; row < n_rows; ++row) {
    rows.push_back(row);
    ids.push_back({static_cast<uint64_t>(row)});
  }
  const SequenceBatch batch = dataset->read(rows, ids);
  const char* key = config.kind == "prompts" ? "packed_prompts" : "packed_input_ids";
  const auto* token = batch.at(key).const_data_ptr<int64_t>();
  std::vector<std::string> texts;
  for (const int32_t length : batch.meta.at(key).lengths.flat()) {
    std::string& text = texts.emplace_back();
    for (int32_t i = 0; i < length; ++i, ++token) {
      text += *token == ByteTokenizer::kEos ? '.' : static_cast<char>(*token);
    }
  }
  return texts;
}

TEST(PromptTemplate, StandsAroundPromptsOfAllKinds) {
  const TemporaryFile file(
      "{\"prompt\":\"p\",\"completion\":\"c\",\"chosen\":\"x\",\"rejected\":\"y\"}\n"
      "{\"prompt\":\"q\",\"system\":\"s\",\"completion\":\"c\",\"chosen\":\"x\",\"rejected\":\"y\"}"
      "\n"
      "{\"prompt\":\"r\",\"system\":null,\"completion\":\"c\",\"chosen\":\"x\",\"rejected\":\"y\"}"
      "\n");
  using Texts = std::vector<std::string>;

  EXPECT_EQ(texts_of(chat(file.path(), "prompts"), 3),
            (Texts{"<u>\tp\\:", "[s]\n<u>\tq\\:", "<u>\tr\\:"}));
  EXPECT_EQ(texts_of(chat(file.path(), "completions"), 2),
            (Texts{"<u>\tp\\:c.", "[s]\n<u>\tq\\:c."}));
  EXPECT_EQ(texts_of(chat(file.path(), "preferences"), 2),
            (Texts{"<u>\tp\\:x.", "<u>\tp\\:y.", "[s]\n<u>\tq\\:x.", "[s]\n<u>\tq\\:y."}));
}

TEST(PromptTemplate, MaskOfThePromptCoversIt) {
  const TemporaryFile file("{\"prompt\":\"q\",\"system\":\"s\",\"completion\":\"cd\"}\n");
  const config::DatasetConfig config = chat(file.path(), "completions");
  const auto dataset = Dataset::open(config, JsonlIndex::build(config, kBytes), kBytes);

  const SequenceBatch batch = dataset->read(std::vector<int64_t>{0}, std::vector<SampleId>{{1}});

  EXPECT_EQ(batch.at("prompt_mask").sum().item<int64_t>(), 11);  // [s]\n<u>\tq\:
  EXPECT_EQ(batch.at("prompt_mask").numel(), 14);
}

TEST(PromptTemplate, CountsTowardsTheLongestPrompt) {
  const TemporaryFile file("{\"prompt\":\"q\",\"system\":\"s\"}\n");
  config::DatasetConfig config = chat(file.path(), "prompts");
  config.max_prompt_tokens = 11;
  EXPECT_EQ(JsonlIndex::build(config, kBytes).n_rows(), 1);

  config.max_prompt_tokens = 10;
  EXPECT_THROW(JsonlIndex::build(config, kBytes), DataError);
}

TEST(PromptTemplate, WithoutTextsAnInstructionStandsBeforeThePrompt) {
  const TemporaryFile file("{\"prompt\":\"q\",\"system\":\"s \",\"role\":\"r \"}\n");
  config::DatasetConfig config;
  config.path = file.path();
  EXPECT_EQ(texts_of(config, 1), std::vector<std::string>{"s q"});
  config.system_field = "role";
  EXPECT_EQ(texts_of(config, 1), std::vector<std::string>{"r q"});
  config.system_field = "";
  EXPECT_EQ(texts_of(config, 1), std::vector<std::string>{"q"});
}

TEST(PromptTemplate, InstructionThatIsNoTextIsABadRecord) {
  const TemporaryFile file("{\"prompt\":\"q\",\"system\":[1]}\n");
  config::DatasetConfig config;
  config.path = file.path();
  try {
    JsonlIndex::build(config, kBytes);
    ADD_FAILURE() << "a list is no instruction";
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find("field \"system\" must be a text, got a list"),
              std::string::npos)
        << error.what();
  }
}

TEST(PromptTemplate, RemarksOnWhatLooksLikeATokenAndIsNone) {
  config::DatasetConfig config;
  config.prompt_prefix = "<|user|>";
  config.prompt_suffix = "<|a <|bos";  // no end: not meant as names

  const std::vector<std::string> remarks = marks_taken_as_text(config, kBytes);

  ASSERT_EQ(remarks.size(), 1U);
  EXPECT_NE(remarks[0].find("prompt_prefix: <|user|>"), std::string::npos) << remarks[0];
}

}  // namespace
}  // namespace orrery::data
