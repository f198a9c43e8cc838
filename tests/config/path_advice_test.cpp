#include "orrery/config/path_advice.h"

#include <gtest/gtest.h>

#include "config_folder.h"

namespace orrery::config {
namespace {

TEST(PathAdvice, RecognisesWhatIsNoPath) {
  EXPECT_NE(path_advice("org/Model-7B").find("hf download org/Model-7B --local-dir DIR"),
            std::string::npos);
  EXPECT_NE(path_advice("s3://bucket/data.jsonl").find("nothing is fetched from s3://"),
            std::string::npos);
  EXPECT_NE(path_advice("~/models/a").find("~ is not replaced"), std::string::npos);
  EXPECT_NE(path_advice("$HOME/models/a").find("variables are not replaced"), std::string::npos);
}

TEST(PathAdvice, LeavesPathsAlone) {
  for (const char* path : {"data/train.jsonl", "/models/a", "../models/a", "a", "a/b/c", "./a/b"}) {
    EXPECT_EQ(path_advice(path), "") << path;
  }
}

TEST(PathAdvice, StandsBehindTheMessageAboutTheFile) {
  ConfigFolder folder;
  Parts parts;
  parts.model = "[model.actor]\npath = org/model\n";

  const Texts problems = folder.problems(parts.text());

  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].find("model.actor.path: no such file or folder: "), std::string::npos);
  EXPECT_NE(problems[0].find("; if org/model is a name on the Hugging Face hub: nothing is "
                             "downloaded here"),
            std::string::npos)
      << problems[0];
}

}  // namespace
}  // namespace orrery::config
