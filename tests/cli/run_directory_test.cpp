#include "run_directory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>

#include "base/temporary_folder.h"
#include "orrery/base/error.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;

/// Ends the process with the exit code of what make_folders() says, as a user who is not root.
[[noreturn]] void make_folders_as_user(const RunDirectory& directory) {
  constexpr uid_t kNobody = 65534;
  if (::geteuid() == 0 && ::seteuid(kNobody) != 0) std::_Exit(1);
  try {
    make_folders(directory);
  } catch (const Error& error) {
    std::cerr << error.what() << std::endl;
    std::_Exit(error.exit_code());
  }
  std::_Exit(0);
}

class FoldersOfARun : public testing::Test {
 protected:
  FoldersOfARun() {
    make_folders(run_);
    fs::permissions(folder_.path(), fs::perms::all);
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      fs::permissions(entry.path(), fs::perms::all);
    }
  }

  TemporaryFolder folder_;
  RunDirectory run_{folder_.path()};
};

TEST_F(FoldersOfARun, CanBeThereAndBelongToAnother) {
  EXPECT_EXIT(make_folders_as_user(run_), testing::ExitedWithCode(0), "");
}

TEST_F(FoldersOfARun, AreRefusedWhereOneCannotBeWritten) {
  fs::permissions(run_.checkpoints(), static_cast<fs::perms>(0555));

  EXPECT_EXIT(make_folders_as_user(run_), testing::ExitedWithCode(2),
              "checkpoints: Permission denied.*set experiment.output_dir");
}

}  // namespace
}  // namespace orrery::cli
