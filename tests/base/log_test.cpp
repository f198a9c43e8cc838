#include "orrery/base/log.h"

#include <gtest/gtest.h>

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
