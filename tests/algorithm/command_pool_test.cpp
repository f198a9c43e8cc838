// Commands are small shell scripts that answer `N` with `N N*N`, until something goes wrong.
#include "orrery/algorithm/command_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "algorithm/processes_for_test.h"
#include "base/temporary_folder.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kAnswer = "while read n; do echo $n $((n * n)); done";

class CommandPoolTest : public testing::Test {
 protected:
  /// The options of a pool over a script in the test's folder.
  CommandPoolOptions script(const std::string& body) {
    const std::filesystem::path file = folder_ / "command";
    std::ofstream(file) << "#!/bin/sh\n" << body << "\n";
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
    return {.command = file.string()};
  }

  static std::vector<std::string> questions(int n) {
    std::vector<std::string> result;
    for (int i = 0; i < n; ++i) result.push_back(std::to_string(i));
    return result;
  }

  static std::vector<std::string> squares(int n) {
    std::vector<std::string> result;
    for (int i = 0; i < n; ++i) result.push_back(base::concat(i, ' ', i * i));
    return result;
  }

  /// An answer begins with its question.
  static std::optional<std::string> check(size_t question, const std::string& line) {
    if (line.starts_with(base::concat(question, ' '))) return std::nullopt;
    return "another answer";
  }

  /// The text of the CallError of asking once.
  std::string failure(CommandPoolOptions options, int n_questions = 1) {
    CommandPool pool(spawner_, std::move(options));
    try {
      pool.ask(questions(n_questions), check);
    } catch (const CallError& error) {
      EXPECT_TRUE(all_gone(folder_.path().string())) << "processes are left";
      return error.what();
    }
    return "no failure";
  }

  TemporaryFolder folder_;
  Spawner spawner_;
};

TEST_F(CommandPoolTest, AnswersComeInTheOrderOfTheQuestions) {
  CommandPoolOptions options =
      script("while read n; do [ $((n % 3)) = 0 ] && sleep 0.02; echo $n $((n * n)); done");
  options.concurrency = 3;
  CommandPool pool(spawner_, options);

  EXPECT_EQ(pool.ask(questions(30), check), squares(30));
  EXPECT_EQ(pool.take_restarts(), 0);
}

TEST_F(CommandPoolTest, TheSameProcessesServeTheNextCall) {
  CommandPoolOptions options =
      script(base::concat("echo x >> ", (folder_ / "starts").string(), "; ", kAnswer));
  CommandPool pool(spawner_, options);
  pool.ask(questions(2), check);

  pool.ask(questions(5), check);

  EXPECT_EQ(std::filesystem::file_size(folder_ / "starts"), 2u) << "one start";
}

TEST_F(CommandPoolTest, NoQuestionsStartNothing) {
  CommandPool pool(spawner_, {.command = "/nowhere/program"});
  EXPECT_TRUE(pool.ask({}, check).empty());
}

TEST_F(CommandPoolTest, OneThatDiesIsStartedAgainAndTheAnswersAreRight) {
  CommandPoolOptions options =
      script("i=0; while read n; do i=$((i + 1)); [ $i = 4 ] && exit 1; echo $n $((n * n)); done");
  options.restarts = 10;
  CommandPool pool(spawner_, options);

  EXPECT_EQ(pool.ask(questions(10), check), squares(10));
  EXPECT_EQ(pool.take_restarts(), 3);
  EXPECT_EQ(pool.take_restarts(), 0);
}

TEST_F(CommandPoolTest, OneThatHangsIsEndedAtTheTimeoutAndStartedAgain) {
  // The first process stops answering at question 3; its mark tells the second one to go on.
  CommandPoolOptions options = script(base::concat(
      "mark=", (folder_ / "hung").string(),
      "; while read n; do if [ $n = 3 ] && [ ! -e $mark ]; then touch $mark; sleep 1000; fi; "
      "echo $n $((n * n)); done"));
  options.timeout = std::chrono::milliseconds(500);
  CommandPool pool(spawner_, options);

  EXPECT_EQ(pool.ask(questions(6), check), squares(6));
  EXPECT_EQ(pool.take_restarts(), 1);
}

TEST_F(CommandPoolTest, FailsWithWhatWasSeenWhenRestartsAreUsedUp) {
  CommandPoolOptions dies = script("read n; exit 7");
  dies.restarts = 2;
  EXPECT_THAT(failure(dies), AllOf(HasSubstr(dies.command), HasSubstr("started again 2 times"),
                                   HasSubstr("an answer to '0'"), HasSubstr("status 7")));

  CommandPoolOptions hangs = script("read n; printf half; sleep 1000");
  hangs.timeout = std::chrono::milliseconds(200);
  hangs.restarts = 0;
  EXPECT_THAT(failure(hangs), AllOf(HasSubstr("no answer for 0.2 s"), HasSubstr("'half'"),
                                    HasSubstr("killed by signal 9")));
}

TEST_F(CommandPoolTest, GarbageIsNoAnswer) {
  const std::pair<const char*, const char*> cases[] = {
      {"while read n; do echo nonsense; done", "another answer: 'nonsense'"},
      {"while read n; do echo; done", "another answer: ''"},
      {"while read n; do printf '0 0\\n0 0\\n'; done", "more than one line"},
      {"while read n; do echo 7 49; done", "another answer: '7 49'"},
      {"read n; exec yes | tr -d '\\n'", "a line without an end"},
      {"exec cat /dev/null", "it went without an answer"},
  };
  for (const auto& [body, expected] : cases) {
    CommandPoolOptions options = script(body);
    options.restarts = 1;
    EXPECT_THAT(failure(options), HasSubstr(expected)) << body;
  }
}

TEST_F(CommandPoolTest, AProgramThatCannotBeExecutedIsNamed) {
  CommandPoolOptions options = script(kAnswer);
  std::filesystem::permissions(options.command, std::filesystem::perms::owner_read);
  EXPECT_THAT(failure(options), AllOf(HasSubstr(options.command), HasSubstr("cannot be started")));
}

TEST_F(CommandPoolTest, OneThatDoesNotReadItsInputDoesNotBlockTheRest) {
  CommandPoolOptions options = script("sleep 1000");
  options.timeout = std::chrono::milliseconds(300);
  options.restarts = 0;
  CommandPool pool(spawner_, options);

  const std::vector<std::string> large = {std::string(size_t{4} << 20, 'x')};  // over any pipe

  EXPECT_THROW(pool.ask(large, check), CallError);
}

TEST_F(CommandPoolTest, LeavesNothingRunning) {
  {
    CommandPoolOptions options = script(kAnswer);
    options.concurrency = 2;
    CommandPool pool(spawner_, options);
    pool.ask(questions(8), check);
    EXPECT_EQ(processes_with(folder_.path().string()).size(), 2u);
  }
  EXPECT_TRUE(all_gone(folder_.path().string()));
}

}  // namespace
}  // namespace orrery::algorithm
