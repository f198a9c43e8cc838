// What the index of a data file accepts, and how it names what it does not.
#include "orrery/data/jsonl.h"

#include <gtest/gtest.h>

#include <cereal/archives/binary.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>
#include <filesystem>
#include <functional>
#include <sstream>

#include "data/temporary_file.h"
#include "mutated_text.h"
#include "orrery/base/error.h"

namespace orrery::data {
namespace {

const ByteTokenizer kBytes;

config::DatasetConfig prompts_in(const std::string& path, const std::string& on_bad_record) {
  config::DatasetConfig dataset;
  dataset.path = path;
  dataset.on_bad_record = on_bad_record;
  dataset.max_prompt_tokens = 20;
  dataset.max_tokens = 30;
  return dataset;
}

JsonlIndex index_of(const TemporaryFile& file, const std::string& on_bad_record = "fail") {
  return JsonlIndex::build(prompts_in(file.path(), on_bad_record), kBytes);
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const DataError& error) {
    EXPECT_EQ(error.exit_code(), 2);
    return error.what();
  }
  return "no DataError";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::string kGood = "{\"id\": \"a\", \"prompt\": \"1+1=\", \"answer\": \"2\"}\n";

/// A bad record between two good ones: named with its line in either way of dealing with it.
struct BadRecord {
  const char* name;
  std::string line;
  std::string problem;  // part of the text
};

class BadRecordTest : public testing::TestWithParam<BadRecord> {};

TEST_P(BadRecordTest, IsNamedByFileAndLineAndSkippedOrFails) {
  const TemporaryFile file(kGood + GetParam().line + "\n" +
                           "{\"id\": \"b\", \"prompt\": \"2+2=\"}\n");

  const std::string error = error_of([&] { index_of(file); });
  const JsonlIndex index = index_of(file, "skip");

  EXPECT_TRUE(contains(error, file.path() + ":2: ")) << error;
  EXPECT_TRUE(contains(error, GetParam().problem)) << error;
  EXPECT_TRUE(contains(error, "1 of 3 records")) << error;
  EXPECT_EQ(index.n_rows(), 2);
  EXPECT_EQ(index.line(1), 3);
  EXPECT_EQ(index.n_rejected(), 1);
  ASSERT_EQ(index.rejected().size(), 1U);
  EXPECT_EQ(index.rejected()[0].line, 2);
  EXPECT_TRUE(contains(index.rejected()[0].problem, GetParam().problem))
      << index.rejected()[0].problem;
}

INSTANTIATE_TEST_SUITE_P(
    Jsonl, BadRecordTest,
    testing::Values(
        BadRecord{"not_json", "{\"prompt\": \"x\",}", "not valid JSON at column 16"},
        BadRecord{"cut_off", "{\"prompt\": \"x\"", "not valid JSON at column"},
        BadRecord{"two_objects", "{\"prompt\": \"x\"} {\"prompt\": \"y\"}", "not valid JSON"},
        BadRecord{"huge_number", "{\"prompt\": \"x\", \"level\": 1e999}", "not valid JSON"},
        BadRecord{"lone_surrogate", R"({"prompt": "\ud800"})", "not valid JSON"},
        BadRecord{"a_list", "[\"prompt\"]", "expected an object { ... }, got a list"},
        BadRecord{"a_text", "\"prompt\"", "expected an object { ... }, got a text"},
        BadRecord{"missing_field", "{\"question\": \"x\"}", "field \"prompt\" is missing"},
        BadRecord{"only_nested", "{\"x\": {\"prompt\": \"x\"}}", "field \"prompt\" is missing"},
        BadRecord{"null_field", "{\"prompt\": null}", "field \"prompt\" is missing"},
        BadRecord{"number", "{\"prompt\": 5}", "field \"prompt\" must be a text, got a number"},
        BadRecord{"list", "{\"prompt\": [\"x\"]}", "field \"prompt\" must be a text, got a list"},
        BadRecord{"object", "{\"prompt\": {}}", "field \"prompt\" must be a text, got an object"},
        BadRecord{"boolean", "{\"prompt\": true}", "field \"prompt\" must be a text, got true"},
        BadRecord{"answer_type", "{\"prompt\": \"x\", \"answer\": [2]}",
                  "field \"answer\" must be a text, got a list"},
        BadRecord{"id_type", "{\"prompt\": \"x\", \"id\": 1.5}",
                  "field \"id\" must be a text, got a number"},
        BadRecord{"empty_prompt", "{\"prompt\": \"\"}", "field \"prompt\" is empty"},
        BadRecord{"over_long", "{\"prompt\": \"123456789012345678901\"}",
                  "prompt of 21 tokens, more than max_prompt_tokens = 20"},
        BadRecord{"same_field", "{\"prompt\": \"x\", \"prompt\": \"y\"}",
                  "field \"prompt\" comes twice"},
        BadRecord{"duplicate_id", "{\"id\": \"a\", \"prompt\": \"x\"}",
                  "id \"a\" was already used in line 1"},
        BadRecord{"not_utf8", "{\"prompt\": \"\xff\"}", "not UTF-8: byte 255 at column 13"},
        BadRecord{"nul_byte", std::string("{\"prompt\": \"\0\"}", 14), "a NUL byte at column 13"},
        BadRecord{"blank_line", "  ", "an empty line"}),
    [](const testing::TestParamInfo<BadRecord>& test) { return test.param.name; });

TEST(JsonlIndex, RecordsLackNoAnswerThatSomeoneComparesWith) {
  const TemporaryFile file(kGood + "{\"prompt\": \"x\"}\n{\"prompt\": \"x\", \"answer\": null}\n" +
                           "{\"prompt\": \"x\", \"answer\": \"\"}\n" +
                           "{\"prompt\": \"x\", \"answer\": \" \\t\"}\n" +
                           "{\"prompt\": \"x\", \"answer\": 0}\n");
  const RecordNeeds needs{.answer_reader = "call reward (rule_reward)"};

  const std::string error =
      error_of([&] { JsonlIndex::build(prompts_in(file.path(), "fail"), kBytes, needs); });
  const JsonlIndex skipped = JsonlIndex::build(prompts_in(file.path(), "skip"), kBytes, needs);

  EXPECT_TRUE(contains(error, "4 of 6 records")) << error;
  EXPECT_TRUE(contains(error,
                       ":2: field \"answer\" is missing, but call reward (rule_reward) "
                       "compares with it"))
      << error;
  EXPECT_TRUE(contains(error, ":3: field \"answer\" is missing")) << error;
  EXPECT_TRUE(contains(error, ":4: field \"answer\" is empty")) << error;
  EXPECT_TRUE(contains(error, ":5: field \"answer\" is empty")) << error;
  EXPECT_EQ(skipped.n_rows(), 2);
  EXPECT_EQ(skipped.summary().n_with_answer, 2);
  EXPECT_EQ(index_of(file).n_rows(), 6);  // nobody compares
}

TEST(JsonlIndex, PromptsLeaveRoomForAnAnswer) {
  const TemporaryFile file(
      "{\"prompt\": \"1234\"}\n{\"prompt\": \"12345\"}\n{\"prompt\": \"123456\"}\n");
  RecordNeeds needs{.prompt = {.tokens = 5, .reason = "which leaves no room"}, .roomy_prompt = 4};

  const std::string error =
      error_of([&] { JsonlIndex::build(prompts_in(file.path(), "fail"), kBytes, needs); });
  const JsonlIndex index = JsonlIndex::build(prompts_in(file.path(), "skip"), kBytes, needs);

  EXPECT_TRUE(contains(error, ":3: prompt of 6 tokens, which leaves no room")) << error;
  EXPECT_FALSE(contains(error, ":2:")) << error;
  EXPECT_EQ(index.n_rows(), 2);
  EXPECT_EQ(index.summary().n_cramped, 1);
  EXPECT_EQ(index.summary().first_cramped, 2);
}

TEST(JsonlIndex, WholeRecordsFitIntoTheModel) {
  const TemporaryFile file(
      "{\"prompt\": \"12\", \"completion\": \"34\"}\n"
      "{\"prompt\": \"12\", \"completion\": 345}\n");
  config::DatasetConfig dataset = prompts_in(file.path(), "fail");
  dataset.kind = "completions";
  const RecordNeeds needs{.sequence = {.tokens = 5, .reason = "more than 5 positions"}};

  const std::string error = error_of([&] { JsonlIndex::build(dataset, kBytes, needs); });

  EXPECT_TRUE(contains(error,
                       ":2: prompt, completion and end token are 6 tokens, more than 5 "
                       "positions"))
      << error;
  EXPECT_TRUE(contains(error, "1 of 2 records")) << error;
}

TEST(JsonlIndex, CountsWhatRecordsHaveAndHowLongTheyAre) {
  std::string records;
  for (int i = 1; i <= 200; ++i) {
    records += "{\"prompt\": \"" +
               std::string(i == 200   ? 20
                           : i == 199 ? 10
                                      : 2,
                           'x') +
               "\", " + (i % 2 == 0 ? "\"id\": " + std::to_string(i) + ", " : "") +
               (i % 4 == 0 ? "\"system\": \"s\", " : "") + "\"answer\": \"" +
               (i == 3 ? "3.5" : "3") + "\"}\n";
  }
  const TemporaryFile file(records);
  const RecordNeeds needs{.can_be_right = [](std::string_view a) { return a == "3"; },
                          .lengths = RecordNeeds::Lengths::kOfAll};
  config::DatasetConfig dataset = prompts_in(file.path(), "fail");
  dataset.max_prompt_tokens = 30;

  const RecordSummary summary = JsonlIndex::build(dataset, kBytes, needs).summary();

  EXPECT_EQ(summary.n_with_id, 100);
  EXPECT_EQ(summary.n_with_system, 50);
  EXPECT_EQ(summary.n_with_answer, 200);
  EXPECT_EQ(summary.n_never_right, 1);
  EXPECT_EQ(summary.first_never_right, 3);
  EXPECT_EQ(summary.prompts.n, 200);
  EXPECT_DOUBLE_EQ(summary.prompts.mean, (198 * 2 + 10 + 20 + 50) / 200.0);
  EXPECT_EQ(summary.prompts.percentile_99, 3);  // the 198th of 200
  EXPECT_EQ(summary.prompts.longest, 21);
  EXPECT_EQ(summary.sequences.n, 0);
}

TEST(JsonlIndex, KnowsWhereRowsLie) {
  const std::string second = "{\"id\": 7, \"prompt\": \"2+2=\", \"extra\": [1, {\"prompt\": 5}]}";
  const TemporaryFile file(kGood + second + "\n");

  const JsonlIndex index = index_of(file);

  EXPECT_EQ(index.n_rows(), 2);
  EXPECT_EQ(index.offset(0), 0);
  EXPECT_EQ(index.size_bytes(0), static_cast<int32_t>(kGood.size()) - 1);
  EXPECT_EQ(index.offset(1), static_cast<int64_t>(kGood.size()));
  EXPECT_EQ(index.size_bytes(1), static_cast<int32_t>(second.size()));
  EXPECT_EQ(index.file_size_bytes(), static_cast<int64_t>(kGood.size() + second.size() + 1));
  EXPECT_TRUE(index.report(10).empty());
}

TEST(JsonlIndex, AcceptsOtherLineEndsBlankLinesAtTheEndAndAByteOrderMark) {
  const std::string record = "{\"prompt\": \"\xc3\xa4 \\u20ac \\u0000\"}";
  const TemporaryFile plain(record + "\n" + record + "\n");
  const TemporaryFile carriage_returns(record + "\r\n" + record + "\r\n");
  const TemporaryFile no_last_end(record + "\n" + record);
  const TemporaryFile blank_end(record + "\n" + record + "\n\n \r\n\n");
  const TemporaryFile marked("\xEF\xBB\xBF" + record + "\n" + record + "\n");

  const JsonlIndex expected = index_of(plain);
  for (const TemporaryFile* file : {&carriage_returns, &no_last_end, &blank_end, &marked}) {
    const JsonlIndex index = index_of(*file);
    EXPECT_EQ(index.n_rows(), 2);
    EXPECT_EQ(index.size_bytes(1), static_cast<int32_t>(record.size()));
    EXPECT_EQ(index.fingerprint(), expected.fingerprint()) << "the records are the same";
  }
  EXPECT_EQ(index_of(marked).offset(0), 3);
}

TEST(JsonlIndex, FingerprintFollowsContentAndOrder) {
  const std::string a = "{\"prompt\": \"a\"}\n";
  const std::string b = "{\"prompt\": \"b\"}\n";

  const uint64_t first = index_of(TemporaryFile(a + b)).fingerprint();

  EXPECT_EQ(index_of(TemporaryFile(a + b)).fingerprint(), first);
  EXPECT_NE(index_of(TemporaryFile(b + a)).fingerprint(), first);
  EXPECT_NE(index_of(TemporaryFile(a)).fingerprint(), first);
}

TEST(JsonlIndex, CountsTheEndTokenOfCompletions) {
  const auto build = [](const std::string& completion) {
    const TemporaryFile file("{\"prompt\": \"12345\", \"completion\": \"" + completion + "\"}\n");
    config::DatasetConfig dataset = prompts_in(file.path(), "fail");
    dataset.kind = "completions";
    return JsonlIndex::build(dataset, kBytes);
  };

  EXPECT_EQ(build(std::string(24, 'x')).n_rows(), 1);  // 5 + 24 + 1 = 30
  EXPECT_TRUE(contains(error_of([&] { build(std::string(25, 'x')); }),
                       "are 31 tokens, more than max_tokens = 30"));
  EXPECT_TRUE(contains(error_of([&] { build(""); }), "field \"completion\" is empty"));
}

TEST(JsonlIndex, ReadsFieldsOfOtherNames) {
  const TemporaryFile file(
      "{\"key\": 1, \"question\": \"x\"}\n{\"key\": 1, \"question\": \"y\"}\n");
  config::DatasetConfig dataset = prompts_in(file.path(), "fail");
  dataset.prompt_field = "question";
  dataset.id_field = "key";

  const std::string error = error_of([&] { JsonlIndex::build(dataset, kBytes); });

  EXPECT_TRUE(contains(error, ":2: id \"1\" was already used in line 1")) << error;
}

TEST(JsonlIndex, NamesTwentyBadRecordsAndCountsTheRest) {
  std::string content;
  for (int i = 0; i < 1500; ++i) content += "{}\n";
  const TemporaryFile file(content + kGood);

  const std::string error = error_of([&] { index_of(file); });
  const JsonlIndex index = index_of(file, "skip");

  EXPECT_TRUE(contains(error, "1500 of 1501 records rejected")) << error;
  EXPECT_TRUE(contains(error, ":20: ")) << error;
  EXPECT_FALSE(contains(error, ":21: ")) << error;
  EXPECT_TRUE(contains(error, "and 1480 more")) << error;
  EXPECT_EQ(index.n_rejected(), 1500);
  EXPECT_EQ(index.rejected().size(), JsonlIndex::kMaxNamed);
}

TEST(JsonlIndex, RefusesFilesWithoutRecords) {
  EXPECT_TRUE(contains(error_of([] { index_of(TemporaryFile("")); }), "an empty file"));
  EXPECT_TRUE(contains(error_of([] { index_of(TemporaryFile("\n\n")); }), "no usable record"));
  EXPECT_TRUE(contains(error_of([] { index_of(TemporaryFile("{}\n"), "skip"); }),
                       ":1: field \"prompt\" is missing"));
  EXPECT_TRUE(contains(error_of([] { index_of(TemporaryFile("\xFF\xFE{\n")); }), "UTF-16"));
}

TEST(JsonlIndex, SaysWhyAFileCannotBeRead) {
  const auto error = [](const std::string& path) {
    return error_of([&] { JsonlIndex::build(prompts_in(path, "skip"), kBytes); });
  };

  EXPECT_TRUE(contains(error("/nowhere/x.jsonl"), "/nowhere/x.jsonl"));
  EXPECT_TRUE(contains(error("/nowhere/x.jsonl"), "No such file"));
  EXPECT_TRUE(contains(error(std::filesystem::temp_directory_path().string()), "Is a directory"));
  // Opens, but the first page of a process is never mapped: read() fails even for root.
  EXPECT_TRUE(contains(error("/proc/self/mem"), "Input/output error"));
}

TEST(JsonlIndex, RefusesUnknownChoices) {
  const TemporaryFile file(kGood);
  config::DatasetConfig dataset = prompts_in(file.path(), "perhaps");
  EXPECT_THROW(JsonlIndex::build(dataset, kBytes), ConfigError);
  dataset.on_bad_record = "fail";
  dataset.kind = "riddles";
  EXPECT_THROW(JsonlIndex::build(dataset, kBytes), ConfigError);
}

TEST(JsonlIndex, ReadsLinesLongerThanItsBuffer) {
  const std::string filler(3 << 20, 'x');
  const TemporaryFile file("{\"filler\": \"" + filler + "\", \"prompt\": \"a\"}\n" + kGood);

  const JsonlIndex index = index_of(file);

  EXPECT_EQ(index.n_rows(), 2);
  EXPECT_EQ(index.offset(1), index.size_bytes(0) + 1);
}

TEST(JsonlIndex, RefusesLinesWithoutEnd) {
  const std::string endless(70 << 20, ' ');
  const TemporaryFile file(kGood + endless + "\n{\"prompt\": \"b\"}\n");

  const JsonlIndex index = index_of(file, "skip");

  ASSERT_EQ(index.rejected().size(), 1U);
  EXPECT_TRUE(contains(index.report(5), ":2: longer than")) << index.report(5);
  EXPECT_EQ(index.n_rows(), 2);
  EXPECT_EQ(index.line(1), 3);
  EXPECT_EQ(index.offset(1), static_cast<int64_t>(kGood.size() + endless.size() + 1));
}

TEST(JsonlIndex, SurvivesAMessage) {
  const TemporaryFile file(kGood + "{}\n");
  const JsonlIndex sent = index_of(file, "skip");
  std::stringstream stream;
  {
    cereal::BinaryOutputArchive archive(stream);
    archive(sent);
  }

  JsonlIndex received;
  cereal::BinaryInputArchive archive(stream);
  archive(received);

  EXPECT_EQ(received, sent);
}

TEST(JsonlIndex, ADeepRecordIsABadOne) {
  const TemporaryFile file(kGood + "{\"prompt\": \"a\", \"x\": " + deep_json() + "}\n");
  const std::string error = error_of([&] { index_of(file); });
  EXPECT_TRUE(contains(error, "nested deeper")) << error.substr(0, 300);
  EXPECT_EQ(index_of(file, "skip").n_rows(), 1);
}

}  // namespace
}  // namespace orrery::data
