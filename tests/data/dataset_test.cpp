#include "orrery/data/dataset.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <numeric>
#include <thread>

#include "data/temporary_file.h"
#include "orrery/base/error.h"

namespace orrery::data {
namespace {

const ByteTokenizer kBytes;

const std::string kRecords =
    "{\"id\": \"a\", \"prompt\": \"1+1=\", \"answer\": \"2\", \"completion\": \"2\"}\n"
    "{\"id\": \"b\", \"prompt\": \"\\u00e4\", \"completion\": \"xy\"}\n"
    "{\"id\": \"c\", \"prompt\": \"9\", \"answer\": \"-10\", \"completion\": \"z\"}\n";

config::DatasetConfig dataset_in(const TemporaryFile& file, const std::string& kind) {
  config::DatasetConfig dataset;
  dataset.path = file.path();
  dataset.kind = kind;
  return dataset;
}

std::unique_ptr<Dataset> opened(const TemporaryFile& file, const std::string& kind = "prompts") {
  const config::DatasetConfig dataset = dataset_in(file, kind);
  return Dataset::open(dataset, JsonlIndex::build(dataset, kBytes), kBytes);
}

TEST(Dataset, PacksPromptsAndAnswers) {
  const TemporaryFile file(kRecords);

  const SequenceBatch batch =
      opened(file)->read(std::vector<int64_t>{2, 1, 0}, std::vector<SampleId>{{7}, {8}, {9}});

  batch.check();
  EXPECT_EQ(batch.meta.ids, (std::vector<SampleId>{{7}, {8}, {9}}));
  EXPECT_EQ(batch.meta.at("packed_prompts").lengths, (NestedLengths{{1}, {2}, {4}}));
  EXPECT_TRUE(at::equal(batch.at("packed_prompts"),
                        at::tensor({'9', 0xc3, 0xa4, '1', '+', '1', '='}, at::kLong)));
  EXPECT_EQ(batch.meta.at("answers").lengths, (NestedLengths{{3}, {0}, {1}}));
  EXPECT_TRUE(at::equal(batch.at("answers"), at::tensor({'-', '1', '0', '2'}, at::kByte)));
}

TEST(Dataset, KeepsThePromptAsTheRecordHasItBesideTheTemplate) {
  const TemporaryFile file("{\"prompt\": \"1+1\", \"answer\": \"2\"}\n");
  config::DatasetConfig dataset = dataset_in(file, "prompts");
  dataset.prompt_prefix = "Q: ";

  const SequenceBatch batch = Dataset::open(dataset, JsonlIndex::build(dataset, kBytes), kBytes)
                                  ->read(std::vector<int64_t>{0}, std::vector<SampleId>{{7}});

  EXPECT_EQ(batch.meta.at("packed_prompts").lengths, (NestedLengths{{6}}));
  EXPECT_TRUE(at::equal(batch.at("prompt_texts"), at::tensor({'1', '+', '1'}, at::kByte)));
}

TEST(Dataset, TakesNumbersAsTheyAreWritten) {
  const std::vector<std::string> numbers = {"2",    "-3",  "-0",
                                            "1.50", "1e3", "123456789012345678901234567890"};
  std::string records;
  for (const std::string& number : numbers) {
    records += "{\"prompt\": \"p\", \"answer\": " + number + ", \"completion\": " + number + "}\n";
  }
  const TemporaryFile file(records);
  const auto text_of = [&](const char* kind, const char* key, int64_t row) {
    const SequenceBatch batch =
        opened(file, kind)->read(std::vector<int64_t>{row}, std::vector<SampleId>{{1}});
    std::string text;
    const at::Tensor values = batch.at(key).to(at::kLong);
    for (int64_t i = 0; i < values.numel(); ++i) {
      text += static_cast<char>(values[i].item<int64_t>());
    }
    return text;
  };

  for (size_t i = 0; i < numbers.size(); ++i) {
    EXPECT_EQ(text_of("prompts", "answers", static_cast<int64_t>(i)), numbers[i]);
    const std::string whole = text_of("completions", "packed_input_ids", static_cast<int64_t>(i));
    EXPECT_EQ(whole.substr(1, whole.size() - 2), numbers[i]);  // prompt, completion, end token
  }
}

/// The fields of the only record of a data file.
std::string fields_of(const std::string& record) {
  const TemporaryFile file(record);
  const SequenceBatch batch =
      opened(file)->read(std::vector<int64_t>{0}, std::vector<SampleId>{{1}});
  const at::Tensor fields = batch.at("fields");
  return {reinterpret_cast<const char*>(fields.const_data_ptr<uint8_t>()),
          static_cast<size_t>(fields.numel())};
}

TEST(Dataset, KeepsTheOtherFieldsAsTheyStandInTheRecord) {
  EXPECT_EQ(fields_of(R"({"prompt": "p", "answer": "a", "system": "s"})"), "{}");
  EXPECT_EQ(fields_of(R"( { "id": 7, "prompt": "p" } )"), R"({"id":7})");
  EXPECT_EQ(fields_of(R"({"n":  1.50, "big": 12345678901234567890123, "prompt": "p", "e": 1E5})"),
            R"({"n":1.50,"big":12345678901234567890123,"e":1E5})");
  EXPECT_EQ(fields_of(R"({"a": {"b": [1, "x, }\" ]", {"c": null}]}, "prompt": "p","d":[ ]})"),
            R"({"a":{"b":[1,"x, }\" ]",{"c":null}]},"d":[]})");
  EXPECT_EQ(fields_of(R"({"pr\u006fmpt": "p", "an\u0073wer": "x", "\u00e4 \"": true, "": false})"),
            R"({"\u00e4 \"":true,"":false})");
  EXPECT_EQ(fields_of("{\"prompt\":\"p\",\r\"t\":\t[1,\r2]}\r\n"), "{\"t\":[1,2]}");
}

TEST(Dataset, SaysOfEachSampleWhichRecordItIs) {
  const TemporaryFile file(
      "{\"id\": \"a\", \"prompt\": \"1\"}\n{\"id\": 17, \"prompt\": \"2\"}\n{\"prompt\": \"3\"}\n");
  const std::vector<int64_t> rows = {2, 1, 0};
  const std::vector<SampleId> ids = {{7}, {8}, {9}};

  EXPECT_EQ(opened(file)->read(rows, ids).meta.extra.at(kRecordOfSample),
            (std::vector<std::string>{R"({"line":3})", R"({"line":2,"id":17})",
                                      R"({"line":1,"id":"a"})"}));
}

TEST(Dataset, PacksCompletionsWithTheEndTokenAndTheMaskOfThePrompt) {
  const TemporaryFile file(kRecords);

  const SequenceBatch batch =
      opened(file, "completions")
          ->read(std::vector<int64_t>{1, 2}, std::vector<SampleId>{{1}, {2}});

  EXPECT_EQ(batch.meta.at("packed_input_ids").lengths, (NestedLengths{{5}, {3}}));
  EXPECT_TRUE(at::equal(
      batch.at("packed_input_ids"),
      at::tensor({0xc3, 0xa4, int{'x'}, int{'y'}, 257, int{'9'}, int{'z'}, 257}, at::kLong)));
  EXPECT_TRUE(
      at::equal(batch.at("prompt_mask"), at::tensor({1, 1, 0, 0, 0, 1, 0, 0}).to(at::kBool)));
}

TEST(Dataset, GivesTheSameWhetherRowsWereReadAheadOrNot) {
  const TemporaryFile file(kRecords);
  const std::vector<int64_t> rows = {0, 1, 2};
  const std::vector<SampleId> ids = {{1}, {2}, {3}};
  const SequenceBatch expected = opened(file)->read(rows, ids);
  const auto dataset = opened(file);

  dataset->announce(rows);
  // Read until the thread won once; a read that came too early is as good, only later.
  for (int attempt = 0; attempt < 1000 && dataset->counts().ready < 3; ++attempt) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1 + attempt / 10));
    const SequenceBatch batch = dataset->read(rows, ids);
    EXPECT_EQ(batch.meta, expected.meta);
    EXPECT_TRUE(at::equal(batch.at("packed_prompts"), expected.at("packed_prompts")));
    EXPECT_TRUE(at::equal(batch.at("answers"), expected.at("answers")));
    dataset->announce(rows);
  }

  EXPECT_GE(dataset->counts().ready, 3);
}

TEST(Dataset, ForgetsAnnouncedRowsThatAreNoLongerWanted) {
  const TemporaryFile file(kRecords);
  const auto dataset = opened(file);
  dataset->announce(std::vector<int64_t>{0, 1});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));

  dataset->announce(std::vector<int64_t>{});
  dataset->read(std::vector<int64_t>{0, 1}, std::vector<SampleId>{{1}, {2}});

  EXPECT_EQ(dataset->counts().ready, 0);
  EXPECT_EQ(dataset->counts().read_late, 2);
}

TEST(Dataset, RefusesRowsAndIdsThatDoNotFit) {
  const TemporaryFile file(kRecords);
  const auto dataset = opened(file);
  dataset->announce(std::vector<int64_t>{99, -1});  // must not end the thread or the process

  EXPECT_THROW(dataset->read(std::vector<int64_t>{3}, std::vector<SampleId>{{1}}), CallError);
  EXPECT_THROW(dataset->read(std::vector<int64_t>{-1}, std::vector<SampleId>{{1}}), CallError);
  EXPECT_THROW(dataset->read(std::vector<int64_t>{0}, {}), CallError);
  EXPECT_THROW(dataset->read(std::vector<int64_t>{0, 1}, std::vector<SampleId>{{1}, {1}}),
               CallError);
}

TEST(Dataset, NoticesAChangedFile) {
  const TemporaryFile file(kRecords);
  const config::DatasetConfig config = dataset_in(file, "prompts");
  const JsonlIndex index = JsonlIndex::build(config, kBytes);
  const auto dataset = Dataset::open(config, index, kBytes);

  std::string damaged = kRecords;
  damaged[damaged.find("\"b\"")] = '?';
  file.write(damaged);
  dataset->announce(std::vector<int64_t>{1});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  try {
    dataset->read(std::vector<int64_t>{1}, std::vector<SampleId>{{1}});
    ADD_FAILURE() << "row 1 is damaged";
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find(file.path() + ":2: "), std::string::npos)
        << error.what();
  }
  file.write(kRecords + "\n");
  EXPECT_THROW(Dataset::open(config, index, kBytes), DataError);
}

TEST(Dataset, OfNoRowsGivesAnEmptyBatch) {
  const TemporaryFile file(kRecords);

  const SequenceBatch batch = opened(file)->read({}, {});

  EXPECT_EQ(batch.size(), 0U);
  EXPECT_EQ(batch.at("packed_prompts").size(0), 0);
}

}  // namespace
}  // namespace orrery::data
