#include "orrery/algorithm/spawner.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "algorithm/processes_for_test.h"
#include "base/temporary_folder.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// What comes out of a pipe until its other end is closed.
std::string all_of(const base::FileDescriptor& pipe) {
  std::string text;
  char bytes[256];
  while (true) {
    pollfd polled = {pipe.get(), POLLIN, 0};
    if (poll(&polled, 1, 5000) <= 0) return text + " (and no end)";
    const ssize_t got = read(pipe.get(), bytes, sizeof(bytes));
    if (got <= 0) return text;
    text.append(bytes, static_cast<size_t>(got));
  }
}

std::string all_output(const Child& child) { return all_of(child.output); }

TEST(CommandWords, AreCutAtBlanksAndKeptTogetherByQuotes) {
  EXPECT_THAT(command_words("a  b\tc "), ElementsAre("a", "b", "c"));
  EXPECT_THAT(command_words("sh -c 'a \"b\" $c'"), ElementsAre("sh", "-c", "a \"b\" $c"));
  EXPECT_THAT(command_words("x\"y z\"w ''"), ElementsAre("xy zw", ""));
  EXPECT_THAT(command_words(""), ElementsAre());
  EXPECT_THROW(command_words("echo 'open"), ConfigError);
}

TEST(CommandProblem, SaysWhyAProgramCannotBeStarted) {
  const TemporaryFolder folder;
  EXPECT_EQ(command_problem("sh -c true"), std::nullopt);
  EXPECT_EQ(command_problem("/bin/sh"), std::nullopt);
  EXPECT_THAT(command_problem("  ").value(), HasSubstr("no command"));
  EXPECT_THAT(command_problem("'sh").value(), HasSubstr("not closed"));
  EXPECT_THAT(command_problem("no-such-program-here -x").value(), HasSubstr("in PATH"));
  EXPECT_THAT(command_problem("/nowhere/program").value(), HasSubstr("/nowhere/program"));
  EXPECT_THAT(command_problem(folder.path().string()).value(), HasSubstr("not an executable"));
}

TEST(Spawner, StartsACommandWithItsWordsAsTheyAre) {
  Spawner spawner;

  const Child child = spawner.spawn({"printf", "%s|", "a b", "$HOME", "*"});

  EXPECT_EQ(all_output(child), "a b|$HOME|*|");
  EXPECT_EQ(spawner.end(child.pid), "exited with status 0");
}

TEST(Spawner, ConnectsStandardInputAndOutput) {
  Spawner spawner;
  Child child = spawner.spawn({"sh", "-c", "read line; echo got $line"});

  ASSERT_EQ(write(child.input.get(), "this\n", 5), 5);

  EXPECT_EQ(all_output(child), "got this\n");
  spawner.end(child.pid);
}

TEST(Spawner, KeepsStandardErrorApart) {
  Spawner spawner;
  const Child child = spawner.spawn({"sh", "-c", "echo out; echo err >&2"});

  EXPECT_EQ(all_output(child), "out\n");
  EXPECT_EQ(all_of(child.errors), "err\n");
  spawner.end(child.pid);
}

TEST(Spawner, SaysHowACommandEnded) {
  Spawner spawner;
  const Child three = spawner.spawn({"sh", "-c", "exit 3"});
  const Child endless = spawner.spawn({"sleep", "1000"});
  all_output(three);

  EXPECT_EQ(spawner.end(three.pid), "exited with status 3");
  EXPECT_EQ(spawner.end(endless.pid), "killed by signal 9");
}

TEST(Spawner, NamesAProgramThatCannotBeExecuted) {
  Spawner spawner;
  try {
    spawner.spawn({"/nowhere/program", "x"});
    FAIL() << "it was started";
  } catch (const CallError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/nowhere/program x"));
    EXPECT_THAT(error.what(), HasSubstr("No such file"));
  }
  EXPECT_GT(spawner.spawn({"true"}).pid, 0) << "another one can still be started";
}

TEST(Spawner, EndsWhatACommandStartedAsWell) {
  const std::string mark = base::concat("1000.", getpid(), "1");  // seconds, as sleep takes them
  Spawner spawner;
  const Child child =
      spawner.spawn({"sh", "-c", base::concat("sleep ", mark, " & echo ready; sleep ", mark)});
  char ready[6];
  pollfd polled = {child.output.get(), POLLIN, 0};
  poll(&polled, 1, 5000);
  ASSERT_EQ(read(child.output.get(), ready, sizeof(ready)), 6);
  ASSERT_FALSE(processes_with(mark).empty());

  spawner.end(child.pid);

  EXPECT_TRUE(all_gone(mark));
}

TEST(Spawner, EndsAllCommandsWhenItGoes) {
  const std::string mark = base::concat("1000.", getpid(), "2");
  {
    Spawner spawner;
    for (int i = 0; i < 3; ++i) spawner.spawn({"sleep", mark});
    EXPECT_EQ(processes_with(mark).size(), 3u);
  }
  EXPECT_TRUE(all_gone(mark));
}

TEST(Spawner, LeavesNothingWhenTheProgramIsKilled) {
  const std::string mark = base::concat("1000.", getpid(), "3");
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t program = fork();
  if (program == 0) {
    Spawner spawner;
    spawner.spawn({"sleep", mark});
    const ssize_t ignored = write(ready[1], "x", 1);
    static_cast<void>(ignored);
    pause();
    _exit(0);
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  ASSERT_EQ(processes_with(mark).size(), 1u);

  kill(program, SIGKILL);
  waitpid(program, nullptr, 0);

  EXPECT_TRUE(all_gone(mark));
  close(ready[0]);
  close(ready[1]);
}

TEST(Spawner, EndsDaemonsThatACommandLeftBehind) {
  const std::string mark = base::concat("1000.", getpid(), "4");
  {
    Spawner spawner;
    const Child child = spawner.spawn(
        {"sh", "-c", base::concat("setsid sh -c 'sleep ", mark, " & sleep ", mark, "' & exit 0")});
    for (int i = 0; i < 500 && processes_with(mark).size() < 3; ++i) poll(nullptr, 0, 10);
    spawner.end(child.pid);
    ASSERT_FALSE(processes_with(mark).empty()) << "it has a session of its own";
  }
  EXPECT_TRUE(all_gone(mark));
}

std::string parent_of(pid_t pid) {
  std::ifstream status(base::concat("/proc/", pid, "/status"));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("PPid:")) return std::string(base::trim(line.substr(5)));
  }
  return "";
}

size_t n_zombies_below(const std::string& parent) {
  size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream stat(entry.path() / "stat");
    std::string text;
    std::getline(stat, text);
    if (text.find(base::concat(") Z ", parent, " ")) != text.npos) ++n;
  }
  return n;
}

TEST(Spawner, ReapsWhatACommandLeftBehindSoonAndWhileItIsBusy) {
  Spawner spawner;
  const Child child = spawner.spawn(
      {"sh", "-c",
       "for i in 1 2 3; do (sleep 0.1 & exit 0); done; sleep 0.5; echo done; sleep 100"});
  const std::string parent = parent_of(child.pid);
  char text[5];
  pollfd polled = {child.output.get(), POLLIN, 0};
  poll(&polled, 1, 10'000);
  ASSERT_EQ(read(child.output.get(), text, sizeof(text)), 5);
  size_t n_left = 1;
  for (int i = 0; i < 40 && n_left > 0; ++i) {  // 4 s
    spawner.end(spawner.spawn({"true"}).pid);
    poll(nullptr, 0, 100);
    n_left = n_zombies_below(parent);
  }
  EXPECT_EQ(n_left, 0);
  spawner.end(child.pid);
}

/// In a process with the standard descriptors of `closed` closed: a spawner starts a command, which
/// answers, and ends; then, if `is_killed`, another one does when the process is killed.
void check_with_closed(const std::vector<int>& closed, bool is_killed, const std::string& mark) {
  int answer[2];
  ASSERT_EQ(pipe(answer), 0);
  const pid_t program = fork();
  if (program == 0) {
    const int result = fcntl(answer[1], F_DUPFD, 10);
    for (const int descriptor : closed) close(descriptor);
    {
      Spawner spawner;
      const Child child = spawner.spawn({"sh", "-c", "read line; echo $line again"});
      const ssize_t sent = write(child.input.get(), "this\n", 5);
      const std::string text = sent == 5 ? all_output(child) : "";
      if (text != "this again\n") _exit(1);
    }
    Spawner other;
    other.spawn({"sleep", mark});
    if (write(result, "x", 1) != 1) _exit(2);
    if (is_killed) pause();
    _exit(0);  // without the destructor: as when a rank is ended
  }
  close(answer[1]);
  char byte = 0;
  pollfd polled = {answer[0], POLLIN, 0};
  ASSERT_EQ(poll(&polled, 1, 20'000), 1) << "it hangs";
  EXPECT_EQ(read(answer[0], &byte, 1), 1) << "the command did not answer";
  if (is_killed) kill(program, SIGKILL);
  waitpid(program, nullptr, 0);
  EXPECT_TRUE(all_gone(mark));
  close(answer[0]);
}

TEST(Spawner, WorksAndEndsWithClosedStandardStreams) {
  const std::vector<std::vector<int>> all = {{0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}, {0, 1, 2}};
  for (size_t i = 0; i < all.size(); ++i) {
    SCOPED_TRACE(i);
    check_with_closed(all[i], i % 2 == 0, base::concat("1000.", getpid(), "5", i));
  }
}

TEST(Spawner, ThatIsStoppedNeitherKeepsACallNorTheEnd) {
  const auto began = std::chrono::steady_clock::now();
  {
    Spawner spawner(
        {.answer = std::chrono::milliseconds(200), .parting = std::chrono::milliseconds(200)});
    spawner.spawn({"true"});
    const std::vector<pid_t> processes = children_of(getpid());
    ASSERT_EQ(processes.size(), 1u);
    kill(processes.front(), SIGSTOP);

    try {
      spawner.spawn({"true"});
      FAIL() << "nobody answered";
    } catch (const CallError& error) {
      EXPECT_THAT(error.what(), HasSubstr("does not answer"));
    }
  }
  EXPECT_TRUE(children_of(getpid()).empty());
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
}

TEST(Spawner, RefusesACommandThatIsTooLong) {
  Spawner spawner;
  EXPECT_THROW(spawner.spawn({"echo", std::string(size_t{10} << 20, 'x')}), CallError);
}

}  // namespace
}  // namespace orrery::algorithm
