#include <gtest/gtest.h>

#include <filesystem>

#include "base/temporary_folder.h"
#include "orrery/base/error.h"
#include "orrery/data/dataset_index.h"
#include "temporary_file.h"

namespace orrery::data {
namespace {

/// What is said about this file as a data set.
std::string refusal(const std::string& path) {
  config::DatasetConfig dataset;
  dataset.path = path;
  try {
    DatasetIndex::build(dataset, ByteTokenizer());
  } catch (const DataError& error) {
    return error.what();
  }
  return "nothing";
}

TEST(ForeignFormat, IsToldFromTheFirstBytesWithWhatToDo) {
  const struct {
    std::string begin;
    const char* what;
    const char* advice;
  } cases[] = {
      {"PAR1\x15\x04", "a Parquet file", "pandas.read_parquet"},
      {std::string("ARROW1\0\0", 8), "an Arrow file", "datasets.Dataset.from_file"},
      {"\x1F\x8B\x08", "compressed with gzip", "gunzip -k"},
      {"\x28\xB5\x2F\xFD\x04", "compressed with zstd", "zstd -d"},
      {"PK\x03\x04", "a zip archive", "unzip"},
      {"[{\"prompt\": \"a\"},\n {\"prompt\": \"b\"}]\n", "one JSON list", "jq -c '.[]'"},
      {"\xEF\xBB\xBF\n  [\n", "one JSON list", "jq -c '.[]'"},
      {"{\n  \"prompt\": \"a\"\n}\n", "JSON objects over several lines", "jq -c ."},
      {"version https://git-lfs.github.com/spec/v1\n", "a pointer of git LFS", "git lfs pull"},
      {"<!DOCTYPE html>\n", "a web page", "download the file itself"},
  };
  for (const auto& each : cases) {
    const TemporaryFile file(each.begin);
    const std::string text = refusal(file.path());
    EXPECT_NE(text.find(each.what), std::string::npos) << text;
    EXPECT_NE(text.find(each.advice), std::string::npos) << text;
    EXPECT_NE(text.find(file.path()), std::string::npos) << text;
  }
}

TEST(ForeignFormat, OfATableIsToldFromItsName) {
  const TemporaryFolder folder;
  std::ofstream(folder / "a.csv") << "prompt,answer\n1+1=,2\n";

  EXPECT_NE(refusal((folder / "a.csv").string()).find("pandas.read_csv"), std::string::npos);
}

TEST(ForeignFormat, OfAFolderNamesItsFiles) {
  const TemporaryFolder folder;
  std::ofstream(folder / "train.jsonl") << "{}\n";

  const std::string text = refusal(folder.path().string());

  EXPECT_NE(text.find("is a folder"), std::string::npos) << text;
  EXPECT_NE(text.find("train.jsonl"), std::string::npos) << text;
}

TEST(ForeignFormat, IsNotSeenInJsonLines) {
  const TemporaryFile file("{\"prompt\": \"[\", \"answer\": \"PAR1\"}\n");

  EXPECT_EQ(refusal(file.path()), "nothing");
}

}  // namespace
}  // namespace orrery::data
