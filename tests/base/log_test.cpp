#include "orrery/base/log.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/temporary_folder.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"

namespace orrery::base {
namespace {

TEST(Log, WritesLevelPrefixAndTextToItsFile) {
  const TemporaryFolder folder;
  set_log_file(folder / "log.txt");
  set_log_prefix("worker 2");

  log_warning("disk nearly full {}");
  set_log_prefix("");

  const std::string text = read_file(folder / "log.txt");
  EXPECT_NE(text.find("warning worker 2: disk nearly full {}"), std::string::npos) << text;
}

TEST(Log, WritesWhatTheScreenHasAlreadyToTheFileAlone) {
  const TemporaryFolder folder;
  set_log_file(folder / "log.txt");
  testing::internal::CaptureStderr();

  log_to_file("step 3/4");
  log_info("done");

  const std::string shown = testing::internal::GetCapturedStderr();
  EXPECT_EQ(shown.find("step 3/4"), std::string::npos) << shown;
  EXPECT_NE(shown.find("done"), std::string::npos) << shown;
  const std::string text = read_file(folder / "log.txt");
  EXPECT_NE(text.find("info step 3/4\n"), std::string::npos) << text;
  EXPECT_NE(text.find("info done\n"), std::string::npos) << text;
}

TEST(Log, OpensAFileOfProblemsWithTheFirstAndAppends) {
  const TemporaryFolder folder;
  std::ofstream(folder / "log.txt") << "of the master\n";
  set_log_file_of_problems(folder / "log.txt");

  log_info("one");
  EXPECT_EQ(read_file(folder / "log.txt"), "of the master\n");
  log_warning("two");
  log_info("three");
  log_error("four");

  const std::string text = read_file(folder / "log.txt");
  EXPECT_EQ(text.find("of the master\n"), 0u) << text;
  EXPECT_EQ(text.find("one"), std::string::npos) << text;
  EXPECT_NE(text.find("warning two\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("three"), std::string::npos) << text;
  EXPECT_NE(text.find("error four\n"), std::string::npos) << text;
}

TEST(Log, GoesOnWhenAFileOfProblemsCannotBeOpened) {
  set_log_file_of_problems("/proc/no/such/log.txt");
  testing::internal::CaptureStderr();

  log_error("disk gone");

  const std::string shown = testing::internal::GetCapturedStderr();
  EXPECT_NE(shown.find("log file /proc/no/such/log.txt"), std::string::npos) << shown;
  EXPECT_NE(shown.find("disk gone"), std::string::npos) << shown;
}

TEST(Log, RefusesAFileThatCannotBeOpened) {
  EXPECT_THROW(set_log_file("/proc/no/such/log.txt"), OutputError);
}

TEST(Log, GoesOnWhenItsDiskIsFull) {
  const TemporaryFolder folder;
  std::filesystem::create_symlink("/dev/full", folder / "log.txt");
  set_log_file(folder / "log.txt");
  testing::internal::CaptureStderr();

  log_info("one");
  log_info("two");

  const std::string shown = testing::internal::GetCapturedStderr();
  EXPECT_NE(shown.find("the log file cannot be written"), std::string::npos) << shown;
  EXPECT_NE(shown.find("two"), std::string::npos) << shown;
}

}  // namespace
}  // namespace orrery::base
