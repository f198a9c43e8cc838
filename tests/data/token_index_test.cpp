// Pre-tokenized datasets: the same rows as the text that they were made from, and a named error for
// everything that they may not be.
#include "orrery/data/token_index.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cereal/archives/binary.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>
#include <numeric>
#include <sstream>

#include "base/temporary_folder.h"
#include "data/temporary_file.h"
#include "data/token_file_for_test.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/philox.h"
#include "orrery/data/bpe_tokenizer.h"
#include "orrery/data/dataset.h"
#include "orrery/data/token_table.h"

namespace orrery::data {
namespace {

namespace fs = std::filesystem;

fs::path fixture(const std::string& name) {
  return fs::path(ORRERY_SOURCE_DIR) / "tests/fixtures" / name;
}

/// The whole of a data set as one batch, without the prompts as text: a pre-tokenized dataset has
/// none.
SequenceBatch all_of(const config::DatasetConfig& config, const Tokenizer& tokenizer) {
  const auto dataset = Dataset::open(config, DatasetIndex::build(config, tokenizer), tokenizer);
  std::vector<int64_t> rows(static_cast<size_t>(dataset->n_rows()));
  std::iota(rows.begin(), rows.end(), 0);
  std::vector<SampleId> ids;
  for (const int64_t row : rows) ids.push_back({static_cast<uint64_t>(row)});
  SequenceBatch batch = dataset->read(rows, ids);
  std::erase_if(batch.meta.keys, [](const KeyMetadata& m) { return m.key == "prompt_texts"; });
  batch.data.erase("prompt_texts");
  return batch;
}

void expect_equal(const SequenceBatch& a, const SequenceBatch& b) {
  EXPECT_EQ(a.meta, b.meta);
  for (const auto& [key, tensor] : a.data) EXPECT_TRUE(at::equal(tensor, b.at(key))) << key;
}

config::DatasetConfig tokens_in(const std::string& path, const std::string& kind = "prompts") {
  config::DatasetConfig dataset;
  dataset.path = path;
  dataset.kind = kind;
  return dataset;
}

/// A tokenizer of tests/fixtures/tokenizer that has the end token that the files were made with.
std::unique_ptr<Tokenizer> fixture_tokenizer() {
  const TemporaryFolder folder;
  fs::copy_file(fixture("tokenizer/tokenizer.json"), folder / "tokenizer.json");
  std::ofstream(folder / "tokenizer_config.json") << R"({"eos_token": "<|eos|>"})";
  return make_tokenizer(folder.path().string());
}

TEST(TokenFile, GivesTheRowsOfTheTextThatItWasMadeFrom) {
  const auto tokenizer = fixture_tokenizer();
  for (const char* kind : {"prompts", "completions", "preferences"}) {
    SCOPED_TRACE(kind);
    config::DatasetConfig text = tokens_in(fixture("tokens/records.jsonl").string(), kind);
    text.add_bos = "false";  // they were made without
    text.system_prefix = "<|bos|>";
    text.system_suffix = R"(\n)";
    text.prompt_prefix = "Q: ";
    text.prompt_suffix = "<think>";
    const std::string path = fixture(std::string("tokens/") + kind + ".h5").string();

    const SequenceBatch expected = all_of(text, *tokenizer);
    const SequenceBatch with_table = all_of(tokens_in(path, kind), *TokenTable::open(path));

    ASSERT_EQ(expected.size(), 40U);
    expect_equal(expected, all_of(tokens_in(path, kind), *tokenizer));
    expect_equal(expected, with_table);
  }
}

TEST(TokenTable, DecodesAsTheTokenizerDoes) {
  const auto tokenizer = fixture_tokenizer();
  const auto table = make_tokenizer(fixture("tokens/prompts.h5").string());
  std::vector<int32_t> ids(static_cast<size_t>(table->vocab_size()));
  std::iota(ids.begin(), ids.end(), 0);

  EXPECT_EQ(table->vocab_size(), tokenizer->vocab_size());
  EXPECT_EQ(table->decode(ids), tokenizer->decode(ids));
  for (const int32_t id : ids) EXPECT_EQ(table->bytes_of(id), tokenizer->bytes_of(id)) << id;
  EXPECT_EQ(table->eos_ids(), tokenizer->eos_ids());
  EXPECT_EQ(table->bytes_of(-1), "");
  EXPECT_EQ(table->bytes_of(table->vocab_size()), "");
}

TEST(TokenTable, KnowsTheTextOfTokensThatItCannotMake) {
  const std::string path = fixture("tokens/unigram/prompts.h5").string();
  const auto table = TokenTable::open(path);
  const SequenceBatch batch = all_of(tokens_in(path), *table);
  const at::Tensor ids = batch.at("packed_prompts").to(at::kInt);
  const int32_t n = batch.meta.at("packed_prompts").lengths.of(1)[0];
  const int32_t begin = batch.meta.at("packed_prompts").lengths.of(0)[0];

  EXPECT_EQ(table->decode({ids.const_data_ptr<int32_t>() + begin, static_cast<size_t>(n)}),
            " 33+70= jumps");
  try {
    table->encode("x");
    ADD_FAILURE() << "a table made tokens";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("tools/tokenize.py"), std::string::npos);
  }
}

class SmallTokenFile : public testing::Test {
 protected:
  std::string path() const { return (folder_ / "t.h5").string(); }
  void write(const TokenRecords& records, const std::function<void(hid_t)>& spoil = {}) const {
    write_token_file(path(), records, spoil);
  }
  TokenIndex index(const std::string& on_bad_record = "fail",
                   const std::string& kind = "prompts") const {
    config::DatasetConfig dataset = tokens_in(path(), kind);
    dataset.on_bad_record = on_bad_record;
    dataset.max_prompt_tokens = 4;
    dataset.max_tokens = 6;
    return TokenIndex::build(dataset, *TokenTable::open(path()));
  }
  /// The text of the error that reading ends with.
  std::string error(const std::string& kind = "prompts") const {
    try {
      index("fail", kind);
    } catch (const Error& failure) {
      EXPECT_EQ(failure.exit_code(), 2);
      return failure.what();
    }
    return "no error";
  }

 private:
  TemporaryFolder folder_;
};

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << part << " is not in: " << text;
}

TEST_F(SmallTokenFile, IsReadAcrossChunks) {
  TokenRecords records;
  records.prompt.assign(11, {2, 3, 4});
  records.prompt[5] = {5, 4, 3, 2};
  records.answer.assign(11, "xyz");
  records.fields.assign(11, R"({"n":1})");
  write(records);

  const SequenceBatch batch = all_of(tokens_in(path()), *TokenTable::open(path()));

  EXPECT_EQ(batch.meta.at("packed_prompts").lengths.grand_total(), 34);
  EXPECT_TRUE(at::equal(batch.at("packed_prompts").slice(0, 12, 22),
                        at::tensor({2, 3, 4, 5, 4, 3, 2, 2, 3, 4}, at::kLong)));
  EXPECT_EQ(batch.meta.at("fields").lengths.grand_total(), 77);
  EXPECT_EQ(batch.at("answers")[32].item<int>(), 'z');
}

TEST_F(SmallTokenFile, NamesRecordsThatCannotBeUsedAndCanLeaveThemOut) {
  TokenRecords records;
  records.prompt = {{2}, {}, {3}, {2, 2, 2, 2, 2}, {6}, {-1}, {4}};
  records.answer = {"", "", "", "", "", "", "\xff"};
  write(records);

  const std::string text = error();
  for (const char* part :
       {"5 of 7 records rejected", ":2: prompt is empty (line 11 of source.jsonl)",
        ":4: prompt of 5 tokens, more than max_prompt_tokens = 4",
        ":5: prompt has token 6, but the vocabulary only 6", ":6: prompt has token -1",
        ":7: its answer is not UTF-8"}) {
    expect_part(text, part);
  }
  const TokenIndex skipping = index("skip");
  EXPECT_EQ(skipping.n_rows(), 2);
  EXPECT_EQ(skipping.record(0), 0);
  EXPECT_EQ(skipping.record(1), 2);
  const auto table = TokenTable::open(path());
  const auto dataset = Dataset::open(tokens_in(path()), skipping, *table);
  EXPECT_TRUE(at::equal(dataset->read(std::vector<int64_t>{0, 1}, std::vector<SampleId>{{0}, {1}})
                            .at("packed_prompts"),
                        at::tensor({2, 3}, at::kLong)));
}

TEST_F(SmallTokenFile, ChecksWhatARunNeeds) {
  write({.answer = {"3", "", "x"}, .fields = {R"({"id":1})", "", R"({"n":2,"id":"a"})"}});
  config::DatasetConfig dataset = tokens_in(path());
  dataset.on_bad_record = "skip";
  const auto table = TokenTable::open(path());

  const TokenIndex all = TokenIndex::build(dataset, *table);
  const TokenIndex compared =
      TokenIndex::build(dataset, *table,
                        {.answer_reader = "call reward",
                         .prompt = {.tokens = 2, .reason = "which leaves no room"},
                         .template_tokens = {2},
                         .lengths = RecordNeeds::Lengths::kOfAll});

  EXPECT_EQ(all.summary().n_with_answer, 2);
  EXPECT_EQ(all.summary().n_with_id, 2);
  ASSERT_EQ(compared.n_rejected(), 2);
  EXPECT_EQ(compared.rejected()[0].problem,
            "it has no answer, but call reward compares with it (line 11 of source.jsonl)");
  EXPECT_EQ(compared.rejected()[1].problem,
            "prompt of 3 tokens, which leaves no room (line 12 of source.jsonl)");
  EXPECT_EQ(compared.summary().n_with_template_tokens, 1);  // the first one begins with token 2
  EXPECT_EQ(compared.summary().prompts.longest, 2);
}

TEST_F(SmallTokenFile, HasNoIdThatItsVocabularyLeavesOut) {
  TokenRecords records;
  records.tokens = {"<s>", "</s>", "a", "", "c"};  // 3 is no token
  records.prompt = {{2, 0}, {2, 3}, {4}};
  write(records);

  expect_part(error(), "1 of 3 records rejected");
  expect_part(error(), ":2: prompt has token 3, an id that the tokenizer leaves out");
  EXPECT_EQ(ids_without_token(*TokenTable::open(path()), 7), (std::vector<int64_t>{3, 5, 6}));
}

TEST_F(SmallTokenFile, ChecksCompletionsAndPreferences) {
  TokenRecords records{.kind = "completions", .completion = {{2}, {}, {2, 2, 2}}};
  write(records);
  expect_part(error("completions"), ":2: completion is empty");
  expect_part(error("completions"), ":3: prompt, completion and end token are 7 tokens, more than");

  records = {.kind = "preferences", .chosen = {{2}, {3}, {4}}, .rejected = {{2}, {7}, {5}}};
  write(records);
  expect_part(error("preferences"), ":1: the better and the worse completion are equal");
  expect_part(error("preferences"), ":2: rejected completion has token 7");
}

TEST_F(SmallTokenFile, FingerprintFollowsContentNotPlaceOrChunks) {
  write({});
  const uint64_t first = index().fingerprint();
  TokenRecords records;
  write(records, [](hid_t file) { write_numbers(file, "line", std::vector<int64_t>{1, 2, 3}); });
  EXPECT_EQ(index().fingerprint(), first);
  std::swap(records.prompt[0], records.prompt[1]);
  write(records);
  EXPECT_NE(index().fingerprint(), first);
  write({.answer = {"", "1", ""}});
  EXPECT_NE(index().fingerprint(), first);
}

TEST_F(SmallTokenFile, IsOfOneKindOneTokenizerAndNoTextAround) {
  write({});
  expect_part(error("completions"), "it holds records of another kind");

  TokenRecords other;
  other.tokens[4] = "C";
  write_token_file(path() + ".2.h5", other);
  const auto table = TokenTable::open(path() + ".2.h5");
  EXPECT_THROW(TokenIndex::build(tokens_in(path()), *table), ConfigError);
  EXPECT_THROW(TokenIndex::build(tokens_in(path()), ByteTokenizer()), ConfigError);

  config::DatasetConfig dataset = tokens_in(path());
  dataset.prompt_suffix = "A:";
  try {
    TokenIndex::build(dataset, *TokenTable::open(path()));
    ADD_FAILURE() << "text was put around tokens";
  } catch (const ConfigError& failure) {
    expect_part(failure.what(), "--prompt-suffix");
  }
}

TEST_F(SmallTokenFile, NoticesThatItChanged) {
  write({});
  const TokenIndex before = index();
  const auto table = TokenTable::open(path());
  fs::resize_file(path(), fs::file_size(path()) + 1);
  EXPECT_THROW(Dataset::open(tokens_in(path()), before, *table), DataError);

  write({});
  const auto dataset = Dataset::open(tokens_in(path()), before, *table);
  std::string bytes = base::read_file(path());
  const int32_t prompt[] = {5, 5, 2};
  const size_t at = bytes.find(std::string(reinterpret_cast<const char*>(prompt), 8));
  ASSERT_NE(at, std::string::npos);
  bytes[at + 3] = '\x7f';
  std::fstream(path(), std::ios::in | std::ios::out | std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  EXPECT_THROW(dataset->read(std::vector<int64_t>{2}, std::vector<SampleId>{{1}}), DataError);
}

TEST_F(SmallTokenFile, IndexSurvivesAMessage) {
  write({});
  const DatasetIndex sent = index();
  std::stringstream bytes;
  cereal::BinaryOutputArchive out(bytes);
  out(sent);

  DatasetIndex received;
  cereal::BinaryInputArchive in(bytes);
  in(received);

  ASSERT_NE(received.tokens(), nullptr);
  EXPECT_EQ(*received.tokens(), *sent.tokens());
  EXPECT_LT(bytes.str().size(), 400U);  // whatever the number of rows
}

/// One thing wrong with the file itself.
struct Damage {
  const char* name;
  std::function<void(hid_t)> spoil;
  std::string problem;
};

class DamagedTokenFile : public SmallTokenFile, public testing::WithParamInterface<Damage> {};

TEST_P(DamagedTokenFile, IsRefusedByName) {
  write({.answer = {"1", "2", "3"}}, GetParam().spoil);

  const std::string text = error();

  expect_part(text, path());
  expect_part(text, GetParam().problem);
}

using Numbers64 = std::vector<int64_t>;
using Numbers32 = std::vector<int32_t>;

std::vector<Damage> damages() {
  const auto without = [](const char* name) {
    return [name](hid_t file) { H5Ldelete(file, name, H5P_DEFAULT); };
  };
  const auto offsets = [](const char* group, Numbers64 values) {
    return [=](hid_t file) { write_numbers(file, std::string(group) + "/offsets", values); };
  };
  const auto attribute = [](const char* object, const char* name, Numbers64 values) {
    return [=](hid_t file) { write_attribute(file, object, name, values); };
  };
  return {
      {"format", [](hid_t file) { write_attribute(file, "/", "format", "other"); }, "format"},
      {"no_format", [](hid_t file) { H5Adelete(file, "format"); }, "no attribute format"},
      {"number_as_format", attribute("/", "format", {1}), "attribute format is no text"},
      {"version", attribute("/", "version", {2}), "its version"},
      {"text_as_version", [](hid_t file) { write_attribute(file, "/", "version", "1"); },
       "attribute version"},
      {"kind", [](hid_t file) { write_attribute(file, "/", "kind", "novels"); }, "novels"},
      {"negative_number", attribute("/", "n_records", {-1}), "n_records"},
      {"huge_number", attribute("/", "n_records", {INT64_MAX}), "n_records"},
      {"more_records", attribute("/", "n_records", {4}), "prompt/offsets"},
      {"no_prompt", without("prompt"), "prompt"},
      {"no_values", without("prompt/values"), "no data set prompt/values"},
      {"no_vocabulary", without("vocabulary"), "vocabulary"},
      {"no_special", without("vocabulary/special"), "vocabulary/special"},
      {"other_type",
       [](hid_t file) {
         write_numbers(file, "prompt/values", Numbers64{2, 3, 4, 5, 5, 2});
       },
       "numbers of prompt/values"},
      {"offsets_begin", offsets("prompt", {1, 2, 3, 6}), "prompt/offsets"},
      {"offsets_end", offsets("prompt", {0, 2, 3, 5}), "prompt/offsets"},
      {"offsets_fall", offsets("prompt", {0, 4, 3, 6}), "prompt/offsets, entry 2"},
      {"offsets_beyond", offsets("prompt", {0, 2, 99, 6}), "prompt/"},
      {"offsets_negative", offsets("prompt", {0, -2, 3, 6}), "prompt/offsets, entry 1"},
      {"offsets_huge", offsets("answer", {0, INT64_MAX, INT64_MIN, 3}), "answer/offsets, entry 1"},
      {"answers_missing", offsets("answer", {0, 3}), "answer/offsets"},
      {"lines", [](hid_t file) { write_numbers(file, "line", Numbers64{1}); }, "line"},
      {"table", offsets("vocabulary", {0, 9, 3, 8, 9, 10, 11}), "vocabulary/offsets"},
      {"eos", attribute("vocabulary", "eos_ids", {6}), "eos_ids"},
      {"second_eos", attribute("vocabulary", "eos_ids", {1, -1}), "eos_ids"},
      {"bos", attribute("vocabulary", "bos_id", {-1}), "bos_id"},
      {"pad", attribute("vocabulary", "pad_id", {100}), "pad_id"},
      {"two_pads", attribute("vocabulary", "pad_id", {0, 1}), "pad_id"},
      {"compressed",
       [](hid_t file) {
         H5Ldelete(file, "prompt/values", H5P_DEFAULT);
         const hsize_t size = 6, chunk = 4;
         const base::Hdf5Properties layout(H5Pcreate(H5P_DATASET_CREATE));
         H5Pset_chunk(layout.get(), 1, &chunk);
         H5Pset_deflate(layout.get(), 1);
         const base::Hdf5Space space(H5Screate_simple(1, &size, nullptr));
         const base::Hdf5Dataset made(H5Dcreate2(file, "prompt/values", H5T_STD_I32LE, space.get(),
                                                 H5P_DEFAULT, layout.get(), H5P_DEFAULT));
       },
       "compressed"},
      {"matrix",
       [](hid_t file) {
         H5Ldelete(file, "prompt/values", H5P_DEFAULT);
         const hsize_t sizes[] = {2, 3};
         const base::Hdf5Space space(H5Screate_simple(2, sizes, nullptr));
         const base::Hdf5Dataset made(H5Dcreate2(file, "prompt/values", H5T_STD_I32LE, space.get(),
                                                 H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
       },
       "dimensions"},
      {"never_written",
       [](hid_t file) {
         H5Ldelete(file, "prompt/values", H5P_DEFAULT);
         const hsize_t size = 6, chunk = 4;
         const base::Hdf5Properties layout(H5Pcreate(H5P_DATASET_CREATE));
         H5Pset_chunk(layout.get(), 1, &chunk);
         const base::Hdf5Space space(H5Screate_simple(1, &size, nullptr));
         const base::Hdf5Dataset made(H5Dcreate2(file, "prompt/values", H5T_STD_I32LE, space.get(),
                                                 H5P_DEFAULT, layout.get(), H5P_DEFAULT));
       },
       "a part of prompt/values is not in the file"},
      {"larger_than_the_file",
       [](hid_t file) {
         H5Ldelete(file, "prompt/values", H5P_DEFAULT);
         const hsize_t size = hsize_t{1} << 40, chunk = 4;
         const base::Hdf5Properties layout(H5Pcreate(H5P_DATASET_CREATE));
         H5Pset_chunk(layout.get(), 1, &chunk);
         const base::Hdf5Space space(H5Screate_simple(1, &size, nullptr));
         const base::Hdf5Dataset made(H5Dcreate2(file, "prompt/values", H5T_STD_I32LE, space.get(),
                                                 H5P_DEFAULT, layout.get(), H5P_DEFAULT));
       },
       "larger than its file"},
  };
}

INSTANTIATE_TEST_SUITE_P(Tokens, DamagedTokenFile, testing::ValuesIn(damages()),
                         [](const auto& of) { return of.param.name; });

TEST_F(SmallTokenFile, ThatIsNoSuchFileIsRefused) {
  const auto error_of = [this](const std::string& bytes) {
    std::ofstream(path(), std::ios::binary) << bytes;
    return error();
  };
  expect_part(error_of("{\"prompt\": \"x\"}\n"), "it is no HDF5 file");
  expect_part(error_of(""), "it is no HDF5 file");
  write({});
  const std::string whole = base::read_file(path());
  expect_part(error_of(whole.substr(0, whole.size() / 2)), "the file cannot be read");
  std::string old = whole;
  old[8] = '\0';
  expect_part(error_of(old), "oldest format");
}

/// Metadata has checksums; what has none are the numbers themselves, and those are checked.
TEST_F(SmallTokenFile, DamagedAnywhereGivesAnErrorOrARow) {
  TokenRecords records;
  records.answer = {"1", "2", "3"};
  records.fields = {R"({"a":1})", "", R"({"b":[2]})"};
  write(records);
  const std::string whole = base::read_file(path());
  uint64_t n_refused = 0;
  for (uint64_t trial = 0; trial < 3000; ++trial) {
    std::string bytes = whole;
    const uint64_t at = base::philox_below(7, trial, 0, bytes.size());
    switch (base::philox_below(7, trial, 1, 4)) {
      case 0:
        bytes.resize(at);
        break;
      case 1:
        bytes[at] = '\xff';
        break;
      case 2:
        bytes.erase(at, 1);
        break;
      default:
        bytes[at] = static_cast<char>(base::philox_below(7, trial, 2, 256));
    }
    std::ofstream(path(), std::ios::binary | std::ios::trunc) << bytes;
    try {
      const auto table = TokenTable::open(path());
      all_of(tokens_in(path()), *table);
    } catch (const Error& failure) {
      ASSERT_EQ(failure.exit_code(), 2) << failure.what();
      ++n_refused;
    }
  }
  EXPECT_GT(n_refused, 1000U);
}

}  // namespace
}  // namespace orrery::data
