#include "orrery/base/pointer.h"

#include <gtest/gtest.h>

#include "base/temporary_folder.h"
#include "orrery/base/file.h"

namespace orrery::base {
namespace {

namespace fs = std::filesystem;

TEST(Pointer, LeadsToWhatItIsPointedTo) {
  const TemporaryFolder folder;
  for (const char* target : {"step-1", "step-2"}) {
    point(folder / "latest", folder / target);
    EXPECT_EQ(fs::read_symlink(folder / "latest"), target);
  }
  remove_pointer(folder / "latest");
  EXPECT_FALSE(is_link(folder / "latest"));
  EXPECT_TRUE(list_folder(folder.path()).empty());
}

TEST(Pointer, KeepsACopyThatStandsInItsPlace) {
  const TemporaryFolder folder;
  for (const char* kept : {"latest.copy", "latest.copy.1"}) {
    fs::remove(folder / "latest");
    fs::create_directory(folder / "latest");
    publish_file(folder / "latest" / "file", kept);

    point(folder / "latest", folder / "step-1");

    EXPECT_EQ(fs::read_symlink(folder / "latest"), "step-1");
    EXPECT_EQ(read_file(folder / kept / "file"), kept);
  }
}

TEST(Pointer, KeepsACopyThatIsToGo) {
  const TemporaryFolder folder;
  publish_file(folder / "best", "mine");

  remove_pointer(folder / "best");

  EXPECT_EQ(read_file(folder / "best.copy"), "mine");
  EXPECT_FALSE(base::exists(folder / "best"));
}

}  // namespace
}  // namespace orrery::base
