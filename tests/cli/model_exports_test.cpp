// Which folders of models/ stay when a model is exported.
#include "model_exports.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/temporary_folder.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;

class ExportsOfARun : public testing::Test {
 protected:
  void make(const std::vector<std::string>& names) const {
    for (const std::string& name : names) fs::create_directories(folder_ / name / "actor");
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  TemporaryFolder folder_;
  ModelExports exports_{folder_.path(), /*keep=*/2, /*n_checkpoints=*/1, {}};
};

TEST_F(ExportsOfARun, AreTheNewestUpToTheOneThatIsNew) {
  make({"step-00000001", "step-99999999", "step-100000000"});

  exports_.publish(folder_ / "step-100000000");

  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-100000000", "step-99999999"}));
  EXPECT_EQ(fs::read_symlink(folder_ / "latest"), "step-100000000");
}

TEST_F(ExportsOfARun, KeepTheNewOneAlsoWhereAnAttemptBeforeWentFurther) {
  make({"step-00000002", "step-00000003", "step-00000004"});

  exports_.publish(folder_ / "step-00000002");

  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000002", "step-00000003",
                                               "step-00000004"}));
}

TEST_F(ExportsOfARun, LeaveFoldersOfOtherNamesAlone) {
  make({"step-00000001-good", "step-00000002", "step-00000003", "step-00000003.abandoned",
        "step-00000004", "step-mine"});

  exports_.publish(folder_ / "step-00000004");

  EXPECT_EQ(names(),
            (std::vector<std::string>{"latest", "step-00000001-good", "step-00000003",
                                      "step-00000003.abandoned", "step-00000004", "step-mine"}));
}

TEST_F(ExportsOfARun, LeaveWhatALinkLeadsTo) {
  const TemporaryFolder disk;
  fs::create_directories(disk / "step-00000001/actor");
  fs::create_directory_symlink(disk / "step-00000001", folder_ / "step-00000001");
  make({"step-00000002", "step-00000003"});

  exports_.publish(folder_ / "step-00000003");

  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000002", "step-00000003"}));
  EXPECT_TRUE(fs::exists(disk / "step-00000001/actor"));
}

}  // namespace
}  // namespace orrery::cli
