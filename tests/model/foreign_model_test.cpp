#include "orrery/model/foreign_model.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/temporary_folder.h"
#include "orrery/base/error.h"
#include "orrery/config/experiment.h"
#include "orrery/model/architecture.h"

namespace orrery::model {
namespace {

std::string refusal(const std::filesystem::path& path) {
  config::ModelConfig config;
  config.path = path.string();
  try {
    Architecture::from_config(config);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "nothing";
}

void write(const std::filesystem::path& file, const std::string& content) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << content;
}

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST(ForeignModel, AFileIsNoModel) {
  const TemporaryFolder folder;
  write(folder / "a/model.gguf", "GGUF\x03");
  write(folder / "a/model.safetensors", "12345678");

  expect_part(refusal(folder / "a/model.gguf"), "a GGUF file");
  expect_part(refusal(folder / "a/model.safetensors"),
              "name its directory: " + (folder / "a").string());
}

TEST(ForeignModel, AFolderOfTheHubsCacheHasItsModelInside) {
  const TemporaryFolder folder;
  write(folder / "models--org--m/snapshots/0a1b/config.json", "{}");

  expect_part(refusal(folder / "models--org--m"),
              "name " + (folder / "models--org--m/snapshots/0a1b").string());
}

TEST(ForeignModel, WeightsInAnotherFormAreNamed) {
  const TemporaryFolder folder;
  write(folder / "m/config.json", "{}");
  write(folder / "m/pytorch_model.bin", "PK");

  const std::string text = refusal(folder / "m");

  expect_part(text, "weights as pytorch_model.bin");
  expect_part(text, "safe_serialization=True");
}

TEST(ForeignModel, PointersOfGitLfsAreNoWeights) {
  const TemporaryFolder folder;
  write(folder / "m/config.json", "{}");
  write(folder / "m/model.safetensors",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");

  expect_part(refusal(folder / "m"), "git lfs pull");
}

}  // namespace
}  // namespace orrery::model
