// Which tokenizer a role gets that names none.
#include "tokenizer_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/temporary_folder.h"

namespace orrery::cli {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// An actor whose folder has a tokenizer and a reference of another folder, which has none.
struct TwoModels {
  TemporaryFolder folder;
  config::Experiment experiment;
  std::vector<config::Problem> warnings;

  TwoModels() {
    for (const char* role : {"actor", "ref"}) {
      std::filesystem::create_directories(folder / role);
      experiment.models.emplace_back(role, config::ModelConfig());
      experiment.models.back().second.path = (folder / role).string();
    }
    std::ofstream(folder / "actor" / "tokenizer.json") << "{}";
  }

  config::ModelConfig& ref() { return experiment.models.back().second; }

  std::vector<std::string> said() {
    resolve_tokenizers(experiment, warnings);
    std::vector<std::string> texts;
    for (const config::Problem& each : warnings) texts.push_back(each.text);
    return texts;
  }
};

TEST(TokenizerChoice, OfAModelWithoutOneIsAnothersAndSaid) {
  TwoModels models;

  EXPECT_THAT(models.said(), ElementsAre(AllOf(HasSubstr("model.ref.tokenizer: "),
                                               HasSubstr("has none of its own"),
                                               HasSubstr("taken from model.actor"))));
  EXPECT_EQ(models.ref().tokenizer, (models.folder / "actor").string());
}

TEST(TokenizerChoice, OfTheSameFilesOrOfNoneIsNoSurprise) {
  TwoModels same;
  same.ref().path = same.experiment.models.front().second.path;
  EXPECT_THAT(same.said(), IsEmpty());

  TwoModels random;
  random.ref().path = "";
  EXPECT_THAT(random.said(), IsEmpty());

  TwoModels bytes;  // a model of bytes has no file that says so
  bytes.experiment.models.front().second.tokenizer = "byte";
  EXPECT_THAT(bytes.said(), IsEmpty());

  TwoModels named;
  named.ref().tokenizer = "byte";
  EXPECT_THAT(named.said(), IsEmpty());
}

}  // namespace
}  // namespace orrery::cli
