// BPE against what the Hugging Face `tokenizers` library makes of the same texts:
// every folder under ORRERY_TOKENIZER_DIR (else tests/fixtures/tokenizer) that holds a
// tokenizer.json and an expected.json (its README says what is in it). All comparisons are exact.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "orrery/base/file.h"
#include "orrery/data/bpe_tokenizer.h"

namespace orrery::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::vector<fs::path> fixture_folders() {
  const char* chosen = std::getenv("ORRERY_TOKENIZER_DIR");
  const fs::path root = chosen != nullptr
                            ? fs::path(chosen)
                            : fs::path(ORRERY_SOURCE_DIR) / "tests/fixtures/tokenizer";
  std::vector<fs::path> folders;
  const auto look = [&](const fs::path& folder) {
    if (fs::exists(folder / "tokenizer.json") && fs::exists(folder / "expected.json")) {
      folders.push_back(folder);
    }
  };
  look(root);
  for (const fs::directory_entry& entry :
       fs::recursive_directory_iterator(root, fs::directory_options::follow_directory_symlink)) {
    if (entry.is_directory()) look(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

struct Fixture {
  std::unique_ptr<BpeTokenizer> tokenizer;
  json expected;
  bool is_byte_level = true;
};

Fixture read_fixture(const fs::path& folder) {
  const fs::path file = folder / "tokenizer.json";
  const std::string text = base::read_file(file);
  return {.tokenizer = BpeTokenizer::parse(text, file.string()),
          .expected = json::parse(base::read_file(folder / "expected.json")),
          .is_byte_level = json::parse(text).at("decoder").at("type") == "ByteLevel"};
}

std::vector<int32_t> ids_of(const json& list) { return list.get<std::vector<int32_t>>(); }

template <class Check>
void for_each_fixture(const Check& check) {
  const std::vector<fs::path> folders = fixture_folders();
  ASSERT_FALSE(folders.empty());
  for (const fs::path& folder : folders) {
    SCOPED_TRACE(folder.string());
    check(read_fixture(folder));
  }
}

TEST(TokenizerFixture, EncodesAsTheLibrary) {
  for_each_fixture([](const Fixture& fixture) {
    const BpeTokenizer& tokenizer = *fixture.tokenizer;
    ASSERT_FALSE(fixture.expected.at("encode").empty());
    for (const json& one : fixture.expected.at("encode")) {
      SCOPED_TRACE(one.at("text").dump(-1, ' ', true));
      const auto text = one.at("text").get<std::string>();

      const std::vector<int32_t> ids = tokenizer.encode(text);

      EXPECT_EQ(ids, ids_of(one.at("ids")));
      EXPECT_LE(static_cast<int64_t>(ids.size()), tokenizer.count_at_most(text));
      EXPECT_EQ(tokenizer.encode(text), ids) << "the second time, from the cache";
      if (one.contains("ids_with_special")) {
        EXPECT_EQ(tokenizer.encode_with_special_tokens(text), ids_of(one.at("ids_with_special")));
      }
      if (one.contains("tokens")) {
        std::vector<std::string> tokens;
        for (const int32_t id : ids) tokens.push_back(tokenizer.token(id).value_or("(none)"));
        EXPECT_EQ(tokens, one.at("tokens").get<std::vector<std::string>>());
      }
    }
  });
}

TEST(TokenizerFixture, DecodesAsTheLibrary) {
  for_each_fixture([](const Fixture& fixture) {
    const BpeTokenizer& tokenizer = *fixture.tokenizer;
    for (const char* section : {"encode", "decode_only"}) {
      if (!fixture.expected.contains(section)) continue;
      for (const json& one : fixture.expected.at(section)) {
        SCOPED_TRACE(one.dump(-1, ' ', true));
        const std::vector<int32_t> ids = ids_of(one.at("ids"));

        EXPECT_EQ(tokenizer.decode_all(ids), one.at("decoded").get<std::string>());
        EXPECT_EQ(tokenizer.decode(ids), one.at("decoded_skip_special").get<std::string>());
      }
    }
  });
}

TEST(TokenizerFixture, KnowsTheVocabulary) {
  for_each_fixture([](const Fixture& fixture) {
    const BpeTokenizer& tokenizer = *fixture.tokenizer;
    if (fixture.expected.contains("vocab_size")) {
      EXPECT_EQ(tokenizer.n_tokens(), fixture.expected.at("vocab_size").get<int>());
    }
    for (const char* section : {"special", "added_not_special"}) {
      if (!fixture.expected.contains(section)) continue;
      for (const auto& [name, id] : fixture.expected.at(section).items()) {
        EXPECT_EQ(tokenizer.find(name), id.get<int32_t>()) << name;
        EXPECT_EQ(tokenizer.bytes_of(id.get<int32_t>()).empty(), std::string(section) == "special");
      }
    }
  });
}

}  // namespace
}  // namespace orrery::data
