#include "orrery/base/posix_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "orrery/base/file.h"
#include "temporary_folder.h"

namespace orrery::base {
namespace {

TEST(PosixFile, ReadsWhatWasWrittenAndFewerBytesAtTheEnd) {
  const TemporaryFolder folder;
  ASSERT_TRUE(PosixFile::create(folder / "f").write("abcdef"));
  const PosixFile file = PosixFile::open_to_read(folder / "f");
  std::string first(4, '\0'), last(4, '\0'), middle(3, '\0');

  EXPECT_EQ(file.read(first.data(), 4), 4);
  EXPECT_EQ(file.read(last.data(), 4), 2);
  EXPECT_EQ(file.read_at(2, middle.data(), 3), 3);

  EXPECT_EQ(first, "abcd");
  EXPECT_EQ(last.substr(0, 2), "ef");
  EXPECT_EQ(middle, "cde");
}

TEST(PosixFile, ThatIsCreatedIsEmptyAndOneToAppendIsNot) {
  const TemporaryFolder folder;
  ASSERT_TRUE(PosixFile::create(folder / "f").write("old"));
  ASSERT_TRUE(PosixFile::open_to_append(folder / "f").write(" and new"));
  EXPECT_EQ(read_file(folder / "f"), "old and new");

  ASSERT_TRUE(PosixFile::create(folder / "f").write("x"));
  EXPECT_EQ(read_file(folder / "f"), "x");
}

TEST(PosixFile, ThatCannotBeOpenedIsNoneAndErrnoSaysWhy) {
  const TemporaryFolder folder;

  errno = 0;
  EXPECT_FALSE(PosixFile::open_to_read(folder / "absent"));
  EXPECT_EQ(errno, ENOENT);
}

TEST(PosixFile, ReportsReadingAndWritingThatFail) {
  const TemporaryFolder folder;
  const PosixFile written = PosixFile::create(folder / "f");
  char byte = 0;
  EXPECT_EQ(written.read(&byte, 1), -1);
  EXPECT_EQ(written.read_at(0, &byte, 1), -1);

  EXPECT_FALSE(PosixFile::open_to_read(folder / "f").write("x"));
}

TEST(PosixFile, DoesNotWaitForTheWriterOfAPipe) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);

  EXPECT_TRUE(PosixFile::open_to_read(folder / "pipe"));
}

TEST(PosixFile, SyncsFilesAndFolders) {
  const TemporaryFolder folder;
  EXPECT_TRUE(PosixFile::create(folder / "f").sync());
  EXPECT_TRUE(PosixFile::open_folder(folder.path()).sync());
  EXPECT_FALSE(PosixFile::open_folder(folder / "f"));
}

}  // namespace
}  // namespace orrery::base
