// Data sets of kind labelled, and margins of pairs: what they give, and how bad records are named.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>

#include "data/temporary_file.h"
#include "orrery/base/error.h"
#include "orrery/data/dataset.h"

namespace orrery::data {
namespace {

const ByteTokenizer kBytes;

const std::string kRecords =
    "{\"prompt\": \"ab\", \"completion\": \"one\", \"label\": true}\n"
    "{\"prompt\": \"ab\", \"completion\": \"two\", \"label\": false}\n"
    "{\"prompt\": \"c\", \"completion\": \"a long answer\", \"label\": 1}\n";

config::DatasetConfig dataset_in(const TemporaryFile& file, const std::string& kind) {
  config::DatasetConfig dataset;
  dataset.path = file.path();
  dataset.kind = kind;
  return dataset;
}

SequenceBatch read_all(const config::DatasetConfig& dataset) {
  const JsonlIndex index = JsonlIndex::build(dataset, kBytes);
  std::vector<int64_t> rows;
  std::vector<SampleId> ids;
  for (int64_t row = 0; row < index.n_rows(); ++row) {
    rows.push_back(row);
    ids.push_back({static_cast<uint64_t>(row)});
  }
  SequenceBatch batch = Dataset::open(dataset, index, kBytes)->read(rows, ids);
  batch.check();
  return batch;
}

std::string text_of(const SequenceBatch& sample, const char* key) {
  std::string text;
  const at::Tensor tokens = sample.at(key);
  for (int64_t i = 0; i < tokens.numel(); ++i) {
    const auto id = tokens[i].item<int64_t>();
    text += id == kBytes.eos_id() ? '$' : static_cast<char>(id);
  }
  return text;
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2);
    return error.what();
  }
  return "no error";
}

/// The samples, each by itself.
std::vector<SequenceBatch> each_of(const SequenceBatch& batch) {
  return batch.split({.sizes = std::vector<int>(batch.size(), 1), .ranges = std::nullopt});
}

TEST(Labelled, GivesAnswersWithTheirLabels) {
  const TemporaryFile file(kRecords);

  const SequenceBatch batch = read_all(dataset_in(file, "labelled"));

  EXPECT_TRUE(at::equal(batch.at("desirable"), at::tensor({1, 0, 1}, at::kInt).to(at::kBool)));
  EXPECT_EQ(text_of(batch, "packed_input_ids"), "abone$abtwo$ca long answer$");
}

TEST(Labelled, PairsPromptsWithAnswersToOthers) {
  const TemporaryFile file(kRecords);

  const std::vector<SequenceBatch> samples = each_of(read_all(dataset_in(file, "labelled")));

  EXPECT_EQ(text_of(samples[0], "kl_input_ids"), "aba long answer");  // as long as the longer row
  EXPECT_EQ(text_of(samples[1], "kl_input_ids"), "aba long answer");
  const std::string third = text_of(samples[2], "kl_input_ids");
  EXPECT_TRUE(third == "cone$" || third == "ctwo$") << third;
  EXPECT_TRUE(at::equal(samples[0].at("kl_prompt_mask").nonzero().squeeze(1), at::arange(2)));
}

TEST(Labelled, PairsTheSameWhateverIsReadTogether) {
  const TemporaryFile file(kRecords);
  const config::DatasetConfig dataset = dataset_in(file, "labelled");
  const SequenceBatch together = read_all(dataset);

  const SequenceBatch alone = Dataset::open(dataset, JsonlIndex::build(dataset, kBytes), kBytes)
                                  ->read(std::vector<int64_t>{2}, std::vector<SampleId>{{9}});

  EXPECT_EQ(text_of(alone, "kl_input_ids"), text_of(each_of(together)[2], "kl_input_ids"));
}

TEST(Labelled, NamesRecordsThatCannotBeUsedByFileAndLine) {
  const auto said = [](const std::string& line) {
    const TemporaryFile file(kRecords + line + "\n");
    const std::string error =
        error_of([&] { JsonlIndex::build(dataset_in(file, "labelled"), kBytes); });
    EXPECT_NE(error.find(file.path() + ":4: "), std::string::npos) << error;
    return error;
  };
  EXPECT_NE(said("{\"prompt\": \"x\", \"completion\": \"y\"}").find("field \"label\" is missing"),
            std::string::npos);
  EXPECT_NE(said("{\"prompt\": \"x\", \"completion\": \"y\", \"label\": \"good\"}")
                .find("field \"label\" must be true or false (or 1 or 0), got good"),
            std::string::npos);
  EXPECT_NE(said("{\"prompt\": \"x\", \"completion\": \"y\", \"label\": 2}").find("got 2"),
            std::string::npos);
  EXPECT_NE(said("{\"prompt\": \"x\", \"label\": true}").find("\"completion\" is missing"),
            std::string::npos);
}

TEST(Labelled, RefusesAFileWithOnePromptOnly) {
  const TemporaryFile file(kRecords.substr(0, kRecords.find("{\"prompt\": \"c\"")));

  const std::string error =
      error_of([&] { JsonlIndex::build(dataset_in(file, "labelled"), kBytes); });

  EXPECT_NE(error.find("every record of the file has this prompt"), std::string::npos) << error;
}

TEST(Margins, AreReadWhereAFieldSaysThem) {
  const TemporaryFile file(
      "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\", \"by\": 1.5}\n"
      "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\", \"by\": 0}\n");
  config::DatasetConfig dataset = dataset_in(file, "preferences");
  EXPECT_TRUE(at::equal(read_all(dataset).at("margins"), at::zeros({2})));

  dataset.margin_field = "by";
  EXPECT_TRUE(at::equal(read_all(dataset).at("margins"), at::tensor({1.5f, 0.0f})));
}

TEST(Margins, OutOfRangeAreNamedByFileAndLine) {
  for (const std::string by : {"-1", "1e39", "1e999"}) {
    const TemporaryFile file(R"({"prompt": "p", "chosen": "a", "rejected": "b", "by": )" + by +
                             "}\n");
    config::DatasetConfig dataset = dataset_in(file, "preferences");
    dataset.margin_field = "by";

    const std::string error = error_of([&] { JsonlIndex::build(dataset, kBytes); });

    EXPECT_NE(error.find(file.path() + ":1: "), std::string::npos) << error;
    EXPECT_NE(error.find(by), std::string::npos) << error;
  }
}

}  // namespace
}  // namespace orrery::data
