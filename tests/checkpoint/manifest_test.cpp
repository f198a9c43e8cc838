// A manifest is what manifest_text() gave, or an error: whatever happens to its bytes.
#include "orrery/checkpoint/manifest.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "checkpoint/store_for_test.h"
#include "digest.h"
#include "mutated_text.h"
#include "orrery/base/text.h"

namespace orrery::checkpoint {
namespace {

Manifest example() {
  return {.step = 40,
          .program = "0.1.0",
          .config_hash = "0123456789abcdef",
          .layouts = {{"actor", "d2t1p1@0-1"}, {"critic", "d1t1p1@1"}},
          .files = {{.name = "master.h5", .size = 7, .hash = 0xfedcba9876543210},
                    {.name = "worker-0000.h5", .size = uint64_t{5} << 40, .hash = 1}}};
}

/// The text of a manifest with this content and the hash that belongs to it.
std::string sealed(const nlohmann::json& content) {
  const std::string text = content.dump();
  return nlohmann::json{{"manifest", content},
                        {"xxh3", digest_text(digest_of(text.data(), text.size()))}}
      .dump();
}

nlohmann::json example_content() {
  return nlohmann::json::parse(manifest_text(example())).at("manifest");
}

TEST(Manifest, ComesBackAsItWas) {
  EXPECT_EQ(parse_manifest(manifest_text(example()), "m"), example());
}

TEST(Manifest, KeepsTheInstructionSetsOfTheWorkers) {
  Manifest manifest = example();
  manifest.instruction_sets = {"amx", "avx512"};

  EXPECT_EQ(parse_manifest(manifest_text(manifest), "m").instruction_sets,
            (std::vector<std::string>{"amx", "avx512"}));
}

TEST(Manifest, OfTheVersionBeforeNamesNoInstructionSets) {
  const nlohmann::json content = example_content();
  ASSERT_FALSE(content.contains("instruction_sets"));

  EXPECT_EQ(parse_manifest(sealed(content), "m").instruction_sets, std::vector<std::string>());
}

TEST(Manifest, IsRefusedWithInstructionSetsOfAnotherType) {
  nlohmann::json content = example_content();
  content["instruction_sets"] = {1, 2};

  EXPECT_THROW(parse_manifest(sealed(content), "m"), CheckpointError);
}

TEST(Manifest, IsRefusedWithAnyBitFlipped) {
  const std::string text = manifest_text(example());
  for (size_t at = 0; at + 1 < text.size(); ++at) {  // the last is the end of the line
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = text;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      EXPECT_THROW(parse_manifest(changed, "m"), CheckpointError) << at << " " << bit;
    }
  }
}

TEST(Manifest, IsRefusedCutAnywhere) {
  const std::string text = manifest_text(example());
  for (size_t size = 0; size + 1 < text.size(); ++size) {
    EXPECT_THROW(parse_manifest(text.substr(0, size), "m"), CheckpointError) << size;
  }
}

TEST(Manifest, NamesNoFileOutsideOfItsDirectory) {
  for (const char* name : {"../other.h5", "/etc/passwd", "a/b.h5", "", ".", "..", ".hidden", "a\\b",
                           "a\nb", "w\u00e9.h5"}) {
    SCOPED_TRACE(name);
    nlohmann::json content = example_content();
    content["files"][0]["name"] = name;

    const std::string text = error_of([&] { parse_manifest(sealed(content), "m"); });

    EXPECT_NE(text.find("is no name of a file here"), std::string::npos) << text;
  }
}

TEST(Manifest, OfANewerFormatSaysSoAndIsNoDamage) {
  nlohmann::json content = example_content();
  content["format"] = kFormat + 1;
  try {
    parse_manifest(sealed(content), "m");
    FAIL();
  } catch (const OutputError& error) {
    EXPECT_NE(std::string(error.what()).find("written by a newer version"), std::string::npos);
  }
}

TEST(Manifest, ThatCannotBeReadIsNoDamage) {
  const TemporaryDirectory folder;
  std::filesystem::create_symlink("nowhere", folder / "manifest.json");
  EXPECT_THROW(read_manifest(folder.path()), OutputError);
}

TEST(Manifest, IsRefusedWithAFieldMissingOrOfAnotherType) {
  const nlohmann::json whole = example_content();
  for (const auto& item : whole.items()) {
    SCOPED_TRACE(item.key());
    nlohmann::json content = whole;
    content.erase(item.key());
    EXPECT_THROW(parse_manifest(sealed(content), "m"), CheckpointError);
    content[item.key()] = nlohmann::json::array({nlohmann::json::array()});
    EXPECT_THROW(parse_manifest(sealed(content), "m"), CheckpointError);
  }
}

TEST(Manifest, SurvivesDeepNesting) {
  const std::string open(200'000, '[');
  EXPECT_THROW(parse_manifest(open, "m"), CheckpointError);
  EXPECT_THROW(parse_manifest(open + std::string(200'000, ']'), "m"), CheckpointError);
  // Inside a whole one: what is checked first is a hash of its text, made level by level.
  const std::string inside = base::concat(R"({"manifest":)", deep_json(), R"(,"xxh3":"0"})");
  EXPECT_NE(error_of([&] { parse_manifest(inside, "m"); }).find("nested deeper"),
            std::string::npos);
}

TEST(Manifest, NamesTheFileThatIsMissing) {
  const std::string text = error_of([] { read_manifest("/nowhere/step-1"); });

  EXPECT_NE(text.find("/nowhere/step-1/manifest.json"), std::string::npos) << text;
  EXPECT_NE(text.find("No such file or directory"), std::string::npos) << text;
}

}  // namespace
}  // namespace orrery::checkpoint
