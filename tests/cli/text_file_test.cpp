#include "text_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "../base/temporary_folder.h"
#include "master_file.h"
#include "mutated_text.h"
#include "orrery/base/error.h"

namespace orrery::cli {
namespace {

TEST(JsonLists, NumbersReadBackToTheSameBits) {
  const std::vector<double> values = {
      0.1, -1.0 / 3, 1e-300, 5e-324, 1.7976931348623157e308, -0.0, static_cast<double>(0.1F), 3};
  JsonLists out;
  out.begin("logprobs");
  out.numbers(values);

  EXPECT_EQ(nlohmann::json::parse(out.take()).at("logprobs").at(0).get<std::vector<double>>(),
            values);
}

TEST(JsonLists, HaveAnElementALine) {
  JsonLists out;
  out.begin("sequences");
  out.integers(std::vector<int64_t>{1, 2});
  out.integers(std::vector<int64_t>{});
  out.begin("rewards");
  out.number(0.5);
  out.begin("logits");
  out.rows(std::vector<double>{1, 2, 3, 4}, 2);
  out.begin("texts");

  EXPECT_EQ(out.take(), R"({"sequences": [[1,2],
 []],
 "rewards": [0.5],
 "logits": [[[1.0,2.0],[3.0,4.0]]],
 "texts": []}
)");
}

TEST(JsonLists, WhatIsNotFiniteIsNullAndCounted) {
  JsonLists out;
  out.begin("logprobs");
  out.numbers(std::vector<double>{0.5, NAN, -INFINITY});
  out.number(NAN);

  EXPECT_EQ(out.n_not_finite(), 3);
  EXPECT_EQ(out.take(), "{\"logprobs\": [[0.5,null,null],\n null]}\n");
}

TEST(JsonLists, BytesThatAreNoUtf8AreReplaced) {
  JsonLists out;
  out.begin("texts");
  out.text("a\"\xff\n");

  EXPECT_EQ(out.take(), "{\"texts\": [\"a\\\"\xEF\xBF\xBD\\n\"]}\n");
}

TEST(ReadPromptFile, TakesPromptsAndLeavesOtherFieldsAlone) {
  const TemporaryFolder folder;
  std::ofstream(folder / "p.jsonl") << "\xEF\xBB\xBF{\"prompt\": \"a\\n\", \"answer\": 3}\r\n\n"
                                    << "{\"prompt\": \"b\"}";
  EXPECT_EQ(read_prompt_file(folder / "p.jsonl"), (std::vector<std::string>{"a\n", "b"}));
}

TEST(WriteOutput, ReplacesAFileWhole) {
  const TemporaryFolder folder;
  std::ofstream(folder / "out.json") << "old";
  write_output(folder / "out.json", "new");
  std::ifstream in(folder / "out.json");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "new");
}

TEST(CheckOutput, TakesAPipeAndALinkToAFileAndRefusesALinkToNothing) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  std::ofstream(folder / "file") << "old";
  std::filesystem::create_symlink("file", folder / "link");
  std::filesystem::create_symlink("not_mounted", folder / "to_nothing");

  EXPECT_NO_THROW(check_output(folder / "pipe"));
  EXPECT_NO_THROW(check_output(folder / "link"));
  EXPECT_THROW(check_output(folder / "to_nothing"), OutputError);
  EXPECT_THROW(check_output(folder.path()), ConfigError);
  EXPECT_THROW(check_output(folder / "missing/file"), ConfigError);
}

TEST(ReadTokenFile, DeepJsonIsRefused) {
  const TemporaryFolder folder;
  std::ofstream(folder / "t.json") << "{\"sequences\":" << deep_json() << "}";
  std::ofstream(folder / "p.jsonl") << "{\"prompt\":" << deep_json() << "}\n";
  for (const char* name : {"t.json", "p.jsonl"}) {
    try {
      if (name[0] == 't') {
        read_token_file(folder / name, {.vocab_size = 10, .max_length = 10, .length_reason = "x"});
      } else {
        read_prompt_file(folder / name);
      }
      ADD_FAILURE() << name;
    } catch (const DataError& error) {
      EXPECT_NE(std::string(error.what()).find("nested deeper"), std::string::npos) << error.what();
    }
  }
}

TEST(ReadPromptFile, SpecialFilesAreRefused) {
  for (const char* name : {"/dev/zero", "/dev/null"}) {
    EXPECT_THROW(read_prompt_file(name), DataError) << name;
    EXPECT_THROW(read_token_file(name, {}), DataError) << name;
  }
}

TEST(MasterState, DeepJsonIsRefused) {
  EXPECT_THROW(parse_state("{\"order\":" + deep_json() + "}"), CheckpointError);
}

}  // namespace
}  // namespace orrery::cli
