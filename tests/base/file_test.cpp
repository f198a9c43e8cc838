#include "orrery/base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "base/temporary_folder.h"
#include "orrery/base/error.h"

namespace orrery::base {
namespace {

TEST(PublishFile, ReplacesTheContentAndLeavesNothingElse) {
  const TemporaryFolder folder;

  publish_file(folder / "a.txt", "old");
  publish_file(folder / "a.txt", "new");

  EXPECT_EQ(read_file(folder / "a.txt"), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(PublishFile, WritesWhatALinkLeadsTo) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "elsewhere");
  publish_file(folder / "elsewhere/a.txt", "old");
  std::filesystem::create_symlink("elsewhere/a.txt", folder / "link");

  publish_file(folder / "link", "new");

  EXPECT_TRUE(is_link(folder / "link"));
  EXPECT_EQ(read_file(folder / "elsewhere/a.txt"), "new");
  EXPECT_EQ(list_folder(folder / "elsewhere").size(), 1U);
  EXPECT_EQ(list_folder(folder.path()).size(), 2U);
}

TEST(PublishFile, RefusesALinkToNothing) {
  const TemporaryFolder folder;
  std::filesystem::create_symlink("not_mounted/a.txt", folder / "link");

  EXPECT_THROW(publish_file(folder / "link", "new"), OutputError);
  EXPECT_TRUE(is_link(folder / "link"));
}

TEST(PublishFile, WritesIntoAPipeAndLeavesItOne) {
  const TemporaryFolder folder;
  const std::filesystem::path pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::filesystem::create_symlink("pipe", folder / "link");
  const int reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK);  // so that no open waits
  ASSERT_GE(reader, 0);

  publish_file(pipe, "one ");
  publish_file(folder / "link", "two");

  char text[16] = {};
  const ssize_t count = ::read(reader, text, sizeof text);
  ::close(reader);
  EXPECT_EQ(std::string(text, count > 0 ? static_cast<size_t>(count) : 0), "one two");
  EXPECT_EQ(special_kind(pipe), "a pipe");
  EXPECT_EQ(list_folder(folder.path()).size(), 2U);
}

TEST(PublishFile, KeepsTheOldContentWhenTheNewDoesNotFit) {
  const TemporaryFolder folder;
  publish_file(folder / "a.txt", "old");
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {.rlim_cur = 4096, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);

  EXPECT_THROW(publish_file(folder / "a.txt", std::string(10000, 'x')), OutputError);

  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(read_file(folder / "a.txt"), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(PublishFile, NamesAFolderThatDoesNotExist) {
  const TemporaryFolder folder;

  EXPECT_THROW(publish_file(folder / "missing/a.txt", "x"), OutputError);
}

TEST(ReadFile, NamesAFileThatDoesNotExist) {
  try {
    read_file("/nowhere/a.txt");
    FAIL();
  } catch (const OutputError& error) {
    EXPECT_NE(std::string(error.what()).find("/nowhere/a.txt"), std::string::npos);
  }
}

TEST(AppendFile, GoesOnAtTheEnd) {
  const TemporaryFolder folder;

  AppendFile(folder / "a.txt").write("one\n");
  AppendFile(folder / "a.txt").write("two\n");

  EXPECT_EQ(read_file(folder / "a.txt"), "one\ntwo\n");
}

TEST(AppendFile, SaysThatTheDiskIsFull) {
  const TemporaryFolder folder;
  std::filesystem::create_symlink("/dev/full", folder / "full.txt");
  AppendFile file(folder / "full.txt");

  try {
    file.write("line\n");
    FAIL();
  } catch (const OutputError& error) {
    EXPECT_NE(std::string(error.what()).find("No space left on device"), std::string::npos);
    EXPECT_EQ(error.exit_code(), 5);
  }
}

TEST(Exists, TellsAbsenceFromWhatCannotBeLookedAt) {
  const TemporaryFolder folder;
  publish_file(folder / "file", "x");
  std::filesystem::create_symlink("nowhere", folder / "link");
  std::filesystem::create_symlink("circle", folder / "circle");

  EXPECT_TRUE(base::exists(folder / "file"));
  EXPECT_TRUE(base::exists(folder.path()));
  EXPECT_FALSE(base::exists(folder / "none"));
  EXPECT_FALSE(base::exists(folder / "none" / "below"));
  EXPECT_FALSE(base::exists(folder / "file" / "below"));
  EXPECT_THROW(base::exists(folder / "link"), OutputError);
  EXPECT_THROW(base::exists(folder / "link" / "below" / "it"), OutputError);
  EXPECT_THROW(base::exists(folder / std::string(300, 'x')), OutputError);
  EXPECT_THROW(base::exists(folder / "circle" / "below"), OutputError);
}

TEST(Kinds, AreThoseOfWhatLinksLeadTo) {
  const TemporaryFolder folder;
  publish_file(folder / "file", "four");
  std::filesystem::create_symlink("file", folder / "to_file");
  std::filesystem::create_symlink(".", folder / "to_folder");

  EXPECT_TRUE(is_file(folder / "to_file"));
  EXPECT_FALSE(is_file(folder / "to_folder"));
  EXPECT_TRUE(is_folder(folder / "to_folder"));
  EXPECT_FALSE(is_folder(folder / "file"));
  EXPECT_TRUE(is_link(folder / "to_file"));
  EXPECT_FALSE(is_link(folder / "file"));
  EXPECT_EQ(base::file_size(folder / "to_file"), 4u);
  for (const auto& is : {is_file, is_folder, is_link}) EXPECT_FALSE(is(folder / "none"));
}

TEST(Kinds, OfWhatCannotBeLookedAtAreNoAbsence) {
  const TemporaryFolder folder;
  std::filesystem::create_symlink("nowhere", folder / "gone");
  std::filesystem::create_symlink("circle", folder / "circle");

  for (const char* name : {"gone", "gone/below", "circle", "circle/below"}) {
    EXPECT_THROW(is_file(folder / name), OutputError) << name;
    EXPECT_THROW(is_folder(folder / name), OutputError) << name;
    EXPECT_THROW(base::file_size(folder / name), OutputError) << name;
    EXPECT_THROW(read_beginning(folder / name, 1), OutputError) << name;
  }
  EXPECT_TRUE(is_link(folder / "gone"));
  EXPECT_THROW(is_link(folder / "gone" / "below"), OutputError);
  EXPECT_THROW(base::file_size(folder / "none"), OutputError);
}

TEST(ReadBeginning, IsAllOfAShortFileAndNothingOfAFolder) {
  const TemporaryFolder folder;
  publish_file(folder / "file", "four");

  EXPECT_EQ(read_beginning(folder / "file", 2), "fo");
  EXPECT_EQ(read_beginning(folder / "file", 9), "four");
  EXPECT_EQ(read_beginning(folder.path(), 9), "");
  EXPECT_EQ(read_beginning("/dev/zero", 9), "");
}

TEST(ListFolder, ListsInOrderAndTakesNoErrorForAnEmptyFolder) {
  const TemporaryFolder folder;
  for (const char* name : {"b", "a", "c"}) publish_file(folder / name, "x");
  std::filesystem::create_symlink("nowhere", folder / "gone");

  const std::vector<std::filesystem::path> expected = {folder / "a", folder / "b", folder / "c",
                                                       folder / "gone"};
  EXPECT_EQ(list_folder(folder.path()), expected);
  EXPECT_TRUE(list_folder(folder / "none").empty());
  EXPECT_THROW(list_folder(folder / "gone"), OutputError);
  EXPECT_THROW(list_folder(folder / "a"), OutputError);
}

TEST(FreeName, NeverGivesANameThatIsTaken) {
  const TemporaryFolder folder;

  EXPECT_EQ(free_name(folder / "step-4", ".abandoned"), folder / "step-4.abandoned");
  publish_file(folder / "step-4.abandoned", "x");
  EXPECT_EQ(free_name(folder / "step-4", ".abandoned"), folder / "step-4.abandoned.1");
  std::filesystem::create_symlink("nowhere", folder / "step-4.abandoned.1");
  EXPECT_EQ(free_name(folder / "step-4", ".abandoned"), folder / "step-4.abandoned.2");
}

TEST(FreeName, IsNotLookedForWhereNothingCanBeLookedAt) {
  const TemporaryFolder folder;
  publish_file(folder / "file", "x");

  EXPECT_THROW(free_name(folder / "file" / "below", ".1"), OutputError);
}

TEST(EndLastLine, EndsOneThatWasCutAndNoOther) {
  const TemporaryFolder folder;
  for (const auto& [before, after] : {std::pair{"", ""}, {"a\n", "a\n"}, {"a\nb", "a\nb\n"}}) {
    publish_file(folder / "log", before);

    end_last_line(folder / "log");

    EXPECT_EQ(read_file(folder / "log"), after);
  }
  end_last_line(folder / "none");
  EXPECT_FALSE(std::filesystem::exists(folder / "none"));
}

}  // namespace
}  // namespace orrery::base
