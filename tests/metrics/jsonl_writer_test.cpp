#include "orrery/metrics/jsonl_writer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "orrery/base/error.h"

namespace orrery::metrics {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class JsonlFile : public testing::Test {
 protected:
  JsonlFile() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    directory_ = fs::temp_directory_path() /
                 (std::string("orrery_jsonl_") + info->name() + "_" + std::to_string(getpid()));
    fs::remove_all(directory_);
    fs::create_directories(directory_);
    file_ = directory_ / "metrics.jsonl";
  }
  ~JsonlFile() override { fs::remove_all(directory_); }

  std::string text() const {
    std::ifstream in(file_, std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(in)), {});
  }
  void put(const std::string& content) const { std::ofstream(file_, std::ios::binary) << content; }

  fs::path directory_, file_;
};

TEST(MetricsLine, HasTheDocumentedForm) {
  EXPECT_EQ(metrics_line({.step = 12,
                          .time_s = 3.5,
                          .call = "actor_train",
                          .metrics = {{"loss", 1.25}, {"n", 3}}}),
            R"({"step":12,"time_s":3.5,"call":"actor_train","metrics":{"loss":1.25,"n":3.0}})");
  EXPECT_EQ(metrics_line({.step = 0}), R"({"step":0,"time_s":0.0,"call":null,"metrics":{}})");
}

TEST(MetricsLine, IsValidJsonWhateverTheNumbersAndNames) {
  const double inf = std::numeric_limits<double>::infinity();
  const MetricsRecord record{.step = 1,
                             .time_s = 1e-9,
                             .call = "a\"b\\c\n\x01\xff\xc3\xa9",
                             .metrics = {{"nan", std::nan("")},
                                         {"inf", inf},
                                         {"-inf", -inf},
                                         {"big", 1e300},
                                         {"tiny", 5e-324},
                                         {"third", 1.0 / 3}}};

  const Json parsed = Json::parse(metrics_line(record));

  EXPECT_EQ(parsed["call"], "a\"b\\c\n\x01\xEF\xBF\xBD\xc3\xa9");
  EXPECT_TRUE(parsed["metrics"]["nan"].is_null());
  EXPECT_TRUE(parsed["metrics"]["inf"].is_null());
  EXPECT_TRUE(parsed["metrics"]["-inf"].is_null());
  EXPECT_EQ(parsed["metrics"]["third"].get<double>(), 1.0 / 3);
  EXPECT_EQ(parsed["metrics"]["tiny"].get<double>(), 5e-324);
}

TEST_F(JsonlFile, LinesAreThereWhileTheWriterIsOpen) {
  JsonlWriter writer(file_);
  writer.write({.step = 1, .metrics = {{"loss", 2}}});
  writer.write({.step = 2, .metrics = {{"loss", std::nan("")}}});

  EXPECT_EQ(text(),
            "{\"step\":1,\"time_s\":0.0,\"call\":null,\"metrics\":{\"loss\":2.0}}\n"
            "{\"step\":2,\"time_s\":0.0,\"call\":null,\"metrics\":{\"loss\":null}}\n");
}

TEST_F(JsonlFile, ASecondWriterAppends) {
  JsonlWriter(file_).write({.step = 1});
  JsonlWriter(file_).write({.step = 2});

  const std::string all = text();
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 2);
}

TEST_F(JsonlFile, ALineCutByAKillIsRemoved) {
  put("{\"step\":1}\n{\"step\":2,\"ti" + std::string(10000, 'x'));

  JsonlWriter(file_).write({.step = 2});

  EXPECT_EQ(text(), "{\"step\":1}\n" + metrics_line({.step = 2}) + "\n");
}

TEST_F(JsonlFile, AFileWithOnlyACutLineBecomesEmpty) {
  put("{\"st");

  JsonlWriter writer(file_);

  EXPECT_EQ(text(), "");
}

TEST_F(JsonlFile, ADirectoryThatDoesNotExistIsAnError) {
  EXPECT_THROW(JsonlWriter(directory_ / "missing" / "metrics.jsonl"), Error);
}

TEST_F(JsonlFile, AFullDiskIsAnErrorThatNamesTheFile) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full on this system";
  JsonlWriter writer("/dev/full");
  try {
    writer.write({.step = 1});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("/dev/full"), std::string::npos) << error.what();
  }
}

TEST_F(JsonlFile, AResumedRunDropsTheStepsItRepeats) {
  {
    JsonlWriter writer(file_);
    for (int64_t step = 0; step <= 3; ++step) writer.write({.step = step});
  }

  EXPECT_EQ(drop_records_after(file_, 1), 2);

  EXPECT_EQ(text(), metrics_line({.step = 0}) + "\n" + metrics_line({.step = 1}) + "\n");
  EXPECT_EQ(drop_records_after(file_, 1), 0);
  EXPECT_EQ(drop_records_after(directory_ / "missing.jsonl", 1), 0);
}

TEST_F(JsonlFile, AResumedRunCutsATornLineOffWhereverItIsCut) {
  std::string whole;
  for (int64_t step = 8; step <= 11; ++step) {
    whole += metrics_line({.step = step, .metrics = {{"loss", 0.5}}}) + "\n";
  }
  const size_t last_two = whole.find("{\"step\":10");
  for (size_t size = last_two; size <= whole.size(); ++size) {
    put(whole.substr(0, size));

    drop_records_after(file_, 10);

    const std::string kept = text();
    const bool has_10 = size > whole.find("{\"step\":11") - 1;
    EXPECT_EQ(kept, whole.substr(0, has_10 ? whole.find("{\"step\":11") : last_two)) << size;
  }
}

}  // namespace
}  // namespace orrery::metrics
