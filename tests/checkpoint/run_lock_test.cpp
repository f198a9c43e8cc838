// One job at a time on a run directory; a job that is gone is not in the way.
#include "orrery/checkpoint/run_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <optional>

#include "checkpoint/store_for_test.h"

namespace orrery::checkpoint {
namespace {

std::optional<std::string> refusal(const std::filesystem::path& run) {
  try {
    const RunLock lock(run);
    return std::nullopt;
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.exit_code(), 2);
    return error.what();
  }
}

TEST(RunLock, IsForOneAndNamesItsOwner) {
  const TemporaryDirectory root;
  {
    const RunLock lock(root / "run");
    const std::optional<std::string> text = refusal(root / "run");
    ASSERT_TRUE(text);
    EXPECT_NE(text->find("is in use"), std::string::npos) << *text;
    EXPECT_NE(text->find("process " + std::to_string(::getpid())), std::string::npos) << *text;
    EXPECT_EQ(refusal(root / "other"), std::nullopt);
  }
  EXPECT_EQ(refusal(root / "run"), std::nullopt);
}

TEST(RunLock, EndsWithItsProcessHoweverThatEnds) {
  const TemporaryDirectory root;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const RunLock lock(root / "run");
    [[maybe_unused]] const ssize_t n = ::write(ready[1], "x", 1);
    while (true) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const std::optional<std::string> text = refusal(root / "run");
  ASSERT_TRUE(text);
  EXPECT_NE(text->find("process " + std::to_string(child)), std::string::npos) << *text;

  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);

  EXPECT_EQ(refusal(root / "run"), std::nullopt);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(RunLock, SaysWhyAFolderCannotBeUsed) {
  const std::optional<std::string> text = refusal("/proc/run");

  ASSERT_TRUE(text);
  EXPECT_NE(text->find("/proc"), std::string::npos) << *text;
  EXPECT_NE(text->find("experiment.output_dir"), std::string::npos) << *text;
}

TEST(RunLock, IsOfTheDirectoryWhateverItIsCalled) {
  const TemporaryDirectory root;
  std::filesystem::create_directories(root / "run");
  std::filesystem::create_directory_symlink("run", root / "link");
  {
    const RunLock lock(root / "run");
    EXPECT_TRUE(refusal(root / "link"));
    std::filesystem::rename(root / "run", root / "moved");
    EXPECT_TRUE(refusal(root / "moved"));
  }
  EXPECT_EQ(refusal(root / "moved"), std::nullopt);
}

TEST(RunLock, HoldsADirectoryThatIsMadeLater) {
  const TemporaryDirectory root;
  RunLock lock(root / "run");
  std::filesystem::create_directories(root / "run");
  std::filesystem::create_directory_symlink("run", root / "link");
  EXPECT_EQ(refusal(root / "link"), std::nullopt);

  lock.hold(root / "run");
  lock.hold(root / "run");  // the same directory once more

  EXPECT_TRUE(refusal(root / "link"));
}

}  // namespace
}  // namespace orrery::checkpoint
