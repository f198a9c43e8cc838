// Commands are small shell scripts that answer `N` with `N N*N`, until something goes wrong.
#include "orrery/algorithm/command_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "algorithm/processes_for_test.h"
#include "base/temporary_folder.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {
namespace {

using testing::AllOf;
using testing::Each;
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

  /// An answer begins with its question; one that does not end in `?` names it with that.
  static LineCheck check(size_t question, const std::string& line) {
    if (!line.starts_with(base::concat(question, ' '))) return {.problem = "another answer"};
    return {.names_question = !line.ends_with('?')};
  }

  /// The answers in the order of the questions; of those without one how it ended and what was
  /// seen.
  static std::vector<std::string> ask(CommandPool& pool,
                                      const std::vector<std::string>& questions) {
    std::vector<std::string> texts(questions.size(), "undecided");
    pool.ask(questions, check, [&](size_t question, const CommandAnswer& answer) {
      EXPECT_EQ(texts[question], "undecided");
      const char* const ends[] = {"", "timeout: ", "died: ", "malformed: "};
      texts[question] = base::concat(ends[static_cast<int>(answer.end)], answer.text);
    });
    return texts;
  }

  /// What becomes of one question.
  std::string fate(CommandPoolOptions options) {
    CommandPool pool(spawner_, std::move(options));
    return ask(pool, questions(1)).front();
  }

  /// The text of the CallError of asking once.
  std::string failure(CommandPoolOptions options, int n_questions = 1) {
    CommandPool pool(spawner_, std::move(options));
    try {
      ask(pool, questions(n_questions));
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

  EXPECT_EQ(ask(pool, questions(30)), squares(30));
  EXPECT_EQ(pool.take_restarts(), 0);
}

TEST_F(CommandPoolTest, TheSameProcessesServeTheNextCall) {
  CommandPoolOptions options =
      script(base::concat("echo x >> ", (folder_ / "starts").string(), "; ", kAnswer));
  CommandPool pool(spawner_, options);
  ask(pool, questions(2));

  ask(pool, questions(5));

  EXPECT_EQ(std::filesystem::file_size(folder_ / "starts"), 2u) << "one start";
}

TEST_F(CommandPoolTest, NoQuestionsStartNothing) {
  CommandPool pool(spawner_, {.command = "/nowhere/program"});
  EXPECT_TRUE(ask(pool, {}).empty());
}

TEST_F(CommandPoolTest, OneThatDiesIsStartedAgainAndTheAnswersAreRight) {
  CommandPoolOptions options =
      script("i=0; while read n; do i=$((i + 1)); [ $i = 4 ] && exit 1; echo $n $((n * n)); done");
  options.restarts = 10;
  CommandPool pool(spawner_, options);

  EXPECT_EQ(ask(pool, questions(10)), squares(10));
  EXPECT_EQ(pool.take_restarts(), 3);
  EXPECT_EQ(pool.take_restarts(), 0);
}

TEST_F(CommandPoolTest, OneThatHangsCostsItsTimeoutOnceAndTheOthersGoOn) {
  CommandPoolOptions options =
      script("while read n; do [ $((n % 4)) = 3 ] && sleep 1000; echo $n $((n * n)); done");
  options.timeout = std::chrono::milliseconds(300);
  options.restarts = 5;  // not for those
  CommandPool pool(spawner_, options);
  const auto begin = std::chrono::steady_clock::now();

  std::vector<std::string> got = ask(pool, questions(8));

  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(took.count(), 2 * 0.3 + 2 * 0.2 + 0.5) << "two timeouts, two graces";
  std::vector<std::string> expected = squares(8);
  for (const size_t n : {3, 7}) {
    EXPECT_THAT(got[n], AllOf(HasSubstr("timeout: no answer for 0.3 s"), HasSubstr("signal 9")));
    expected[n] = got[n];
  }
  EXPECT_EQ(got, expected);
  EXPECT_EQ(pool.take_restarts(), 2);
}

TEST_F(CommandPoolTest, OneThatDiesAtAnAnswerIsAskedAgainSoOften) {
  CommandPoolOptions options =
      script(base::concat("echo x >> ", (folder_ / "starts").string(),
                          "; while read n; do [ $n = 2 ] && { echo what a pity >&2; exit 7; }; "
                          "echo $n $((n * n)); done"));
  options.restarts = 2;
  CommandPool pool(spawner_, options);

  const std::vector<std::string> got = ask(pool, questions(4));

  EXPECT_THAT(got[2], AllOf(HasSubstr("died: it went without an answer"), HasSubstr("status 7"),
                            HasSubstr("stderr ends with: what a pity")));
  EXPECT_EQ(got[3], "3 9");
  EXPECT_EQ(std::filesystem::file_size(folder_ / "starts"), 2u * 4) << "1 + 3 starts";
}

TEST_F(CommandPoolTest, GarbageIsNoAnswer) {
  const std::pair<const char*, const char*> cases[] = {
      {"while read n; do echo nonsense; done", "another answer: 'nonsense'"},
      {"while read n; do echo; done", "another answer: ''"},
      {"while read n; do printf '0 0\\n0 0\\n'; done", "more than one line"},
      {"while read n; do echo 7 49; done", "another answer: '7 49'"},
      {"read n; exec yes | tr -d '\\n'", "a line without an end"},
      {"read n; printf '0 0'", "died: it went without an answer, after '0 0'"},
      {"read n; exec >&-; sleep 1000", "died: it went without an answer"},
      {"read n; exit 0", "exited with status 0"},
  };
  for (const auto& [body, expected] : cases) {
    EXPECT_THAT(fate(script(body)), HasSubstr(expected)) << body;
  }
}

TEST_F(CommandPoolTest, AnAnswerInPiecesOrFromAChildOrWithACarriageReturnIsOne) {
  for (const char* body : {"read n; printf '0 '; sleep 0.05; echo 0; read n",
                           "{ while read n; do echo $n 0; done; } | cat",
                           "cat | sed -u 's/.*/& 0/'", "read n; printf '0 0\\r\\n'; read n"}) {
    EXPECT_EQ(fate(script(body)), "0 0") << body;
  }
}

TEST_F(CommandPoolTest, AQuestionThatWasNotReadIsNotToBlame) {
  // Every process answers two questions and ends, or hangs, before it reads the third.
  for (const char* then : {"exit 0", "sleep 1000"}) {
    CommandPoolOptions options =
        script(base::concat("for i in 1 2; do read n; echo $n $((n * n)); done; ", then));
    options.timeout = std::chrono::milliseconds(300);
    options.restarts = 0;
    CommandPool pool(spawner_, options);

    EXPECT_EQ(ask(pool, questions(7)), squares(7)) << then;
  }
}

TEST_F(CommandPoolTest, TheTimeOfAnAnswerBeginsWhenTheFirstQuestionIsRead) {
  CommandPoolOptions slow_start = script("sleep 0.7; while read n; do echo $n $((n * n)); done");
  slow_start.timeout = std::chrono::milliseconds(300);
  slow_start.first_read = std::chrono::seconds(20);
  CommandPool pool(spawner_, slow_start);
  EXPECT_EQ(ask(pool, questions(3)), squares(3));
  EXPECT_EQ(pool.take_restarts(), 0);

  CommandPoolOptions hangs = script("read n; sleep 1000");
  hangs.timeout = slow_start.timeout;
  hangs.first_read = slow_start.first_read;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(fate(hangs), HasSubstr("timeout: no answer for 0.3 s"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, slow_start.first_read / 2);
}

TEST_F(CommandPoolTest, ACommandThatNeverReadsAQuestionIsBroken) {
  CommandPoolOptions dies = script("echo no module named that >&2; exit 1");
  EXPECT_THAT(failure(dies, 100),
              AllOf(HasSubstr(dies.command), HasSubstr("3 times in a row"), HasSubstr("status 1"),
                    HasSubstr("stderr ends with: no module named that")));

  CommandPoolOptions hangs = script("sleep 1000");
  hangs.timeout = std::chrono::milliseconds(200);
  EXPECT_THAT(failure(hangs, 100), HasSubstr("it has read no question for 0.2 s"));
  EXPECT_THAT(failure(script("exec cat /dev/null"), 100), HasSubstr("3 times in a row"));
}

TEST_F(CommandPoolTest, LinesWithoutAQuestionAreNoAnswers) {
  // Only the question that each line is an answer to by chance could be taken in.
  const std::string got = failure(script("while echo 0 0; do sleep 0.05; done"), 100);
  EXPECT_THAT(got, HasSubstr("a line before it had read the question: '0 0'"));
}

TEST_F(CommandPoolTest, ACommandThatAnswersNoneOfTheFirstQuestionsIsBroken) {
  CommandPoolOptions options = script("while read n; do exit 3; done");
  options.max_first_failures = 5;
  EXPECT_THAT(failure(options, 100),
              AllOf(HasSubstr("any of the first 5 questions"), HasSubstr("status 3")));

  options.max_first_failures = 0;  // no such limit
  CommandPool pool(spawner_, options);
  EXPECT_THAT(ask(pool, questions(10)), Each(HasSubstr("died")));
}

TEST_F(CommandPoolTest, AfterAnAnswerThereIsNoEndToFailures) {
  CommandPoolOptions options = script("while read n; do [ $n = 0 ] || exit 3; echo 0 0; done");
  options.restarts = 0;
  CommandPool pool(spawner_, options);

  const std::vector<std::string> got = ask(pool, questions(30));

  EXPECT_EQ(got.front(), "0 0");
  EXPECT_EQ(std::count_if(got.begin(), got.end(),
                          [](const std::string& text) { return text.starts_with("died"); }),
            29);
}

TEST_F(CommandPoolTest, TwoAnswersToOneQuestionAreNoneHoweverTheyCome) {
  // Question 3 gets two, in one piece or one after the other; the others one each.
  for (const char* pause : {"", "sleep 0.001;", "sleep 0.02;"}) {
    CommandPoolOptions options = script(base::concat(
        "while read n; do echo $n $((n * n)); [ $n = 3 ] && { ", pause, " echo 3 99; }; done"));
    CommandPool pool(spawner_, options);

    const std::vector<std::string> got = ask(pool, questions(6));

    std::vector<std::string> expected = squares(6);
    EXPECT_THAT(got[3], HasSubstr("malformed: ")) << pause;
    expected[3] = got[3];
    EXPECT_EQ(got, expected) << pause;
    EXPECT_EQ(pool.take_restarts(), 2) << pause;
  }
}

TEST_F(CommandPoolTest, ALineTooManyOfTheCallBeforeGivesNoQuestionItsAnswer) {
  const char* late = "while read n; do echo $n $((n * n))%s; sleep 0.05; echo $n 99%s; done";
  char named[200], anonymous[200];
  std::snprintf(named, sizeof(named), late, "", "");
  std::snprintf(anonymous, sizeof(anonymous), late, "?", "?");
  CommandPool pool(spawner_, script(named));

  EXPECT_EQ(ask(pool, questions(1)), squares(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(ask(pool, questions(1)), squares(1)) << "of a fresh process";
  EXPECT_EQ(pool.take_restarts(), 1);

  CommandPool other(spawner_, script(anonymous));
  EXPECT_EQ(ask(other, questions(1)).front(), "0 0?");
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  try {
    ask(other, questions(1));
    FAIL() << "whose lines are these?";
  } catch (const CallError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("'0 99?"), HasSubstr("with its id")));
  }
}

TEST_F(CommandPoolTest, WhatIsThrownAtADecisionEndsTheAsking) {
  CommandPool pool(spawner_, script(kAnswer));
  EXPECT_THROW(pool.ask(questions(5), check,
                        [](size_t question, const CommandAnswer&) {
                          if (question == 2) throw CallError("enough");
                        }),
               CallError);
  EXPECT_TRUE(all_gone(folder_.path().string()));
}

TEST_F(CommandPoolTest, MuchOnStderrDoesNotBlockIt) {
  const std::string got =
      fate(script("read n; head -c 100000 /dev/zero | tr '\\0' x >&2; echo 0 0"));
  EXPECT_EQ(got, "0 0");
}

TEST_F(CommandPoolTest, TellsThatItWaits) {
  CommandPoolOptions options = script("read n; sleep 1.3; echo 0 0");
  int n_told = 0;
  options.on_wait = [&] { ++n_told; };
  EXPECT_EQ(fate(options), "0 0");
  EXPECT_GE(n_told, 2);
}

TEST_F(CommandPoolTest, AProgramThatCannotBeExecutedIsNamed) {
  CommandPoolOptions options = script(kAnswer);
  std::filesystem::permissions(options.command, std::filesystem::perms::owner_read);
  EXPECT_THAT(failure(options), AllOf(HasSubstr(options.command), HasSubstr("cannot be started")));
}

TEST_F(CommandPoolTest, AQuestionOverAnyPipeIsSentInPieces) {
  const std::vector<std::string> large = {std::string(size_t{1} << 20, 'x')};
  CommandPool reads(spawner_, script("read n; echo 0 ${#n}"));
  EXPECT_EQ(ask(reads, large).front(), "0 1048576");

  CommandPoolOptions options = script("sleep 1000");
  options.timeout = std::chrono::milliseconds(300);
  CommandPool sleeps(spawner_, options);
  EXPECT_THROW(ask(sleeps, large), CallError);

  options = script("head -c 100000 >/dev/null; sleep 1000");  // reads a part of it
  options.timeout = std::chrono::milliseconds(500);
  EXPECT_THAT(ask(*std::make_unique<CommandPool>(spawner_, options), large).front(),
              HasSubstr("timeout"));
}

/// What was decided in an asking whose questions come one after another.
class CommandPoolAskingTest : public CommandPoolTest {
 protected:
  CommandPool::Decided keep() {
    return [this](size_t question, const CommandAnswer& answer) {
      EXPECT_FALSE(decided_.contains(question)) << "twice";
      decided_[question] = answer.end == CommandAnswer::End::kAnswered ? answer.text : "failed";
    };
  }

  /// Goes on until so many are decided.
  void advance_to(CommandPool::Asking& asking, size_t n_decided) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (decided_.size() < n_decided && std::chrono::steady_clock::now() < end) {
      asking.advance();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  std::map<size_t, std::string> decided_;
};

TEST_F(CommandPoolAskingTest, AnswersQuestionsThatComeWhileOthersAreAsked) {
  CommandPoolOptions options = script(kAnswer);
  options.concurrency = 2;
  CommandPool pool(spawner_, options);
  {
    CommandPool::Asking asking(pool, check, keep());
    for (int i = 0; i < 10; ++i) {
      asking.add(std::to_string(i));
      // An answer stands when the next one of its process has come: two are still to be confirmed.
      if (i >= 3) advance_to(asking, static_cast<size_t>(i) - 3);
    }
    EXPECT_GE(decided_.size(), 6u) << "before the last question was asked";
    while (asking.n_free() < 2) asking.advance();
    asking.finish();
  }

  ASSERT_EQ(decided_.size(), 10u);
  for (const auto& [question, text] : decided_) EXPECT_EQ(text, squares(10)[question]);
  EXPECT_EQ(ask(pool, questions(3)), squares(3)) << "by the same processes";
  EXPECT_EQ(pool.take_restarts(), 0);
}

TEST_F(CommandPoolAskingTest, DoesNotWaitUntilItIsToFinishAndThenOnlyForWhatIsUnderWay) {
  CommandPool pool(spawner_, script("while read n; do sleep 2; echo $n $((n * n)); done"));
  CommandPool::Asking asking(pool, check, keep());
  for (int i = 0; i < 50; ++i) asking.add(std::to_string(i));
  const auto begin = std::chrono::steady_clock::now();
  asking.advance();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(1500));
  EXPECT_TRUE(decided_.empty());

  asking.finish();

  EXPECT_EQ(decided_, (std::map<size_t, std::string>{{0, "0 0"}})) << "the others stay undecided";
}

TEST_F(CommandPoolAskingTest, ThatIsGivenUpLeavesNoAnswerToTheNextOne) {
  CommandPool pool(spawner_, script("while read n; do sleep 0.1; echo $n $((n * n)); done"));
  {
    CommandPool::Asking asking(pool, check, keep());
    asking.add("7");
    asking.advance();
  }

  EXPECT_EQ(ask(pool, questions(2)), squares(2));
  EXPECT_TRUE(decided_.empty());
}

TEST_F(CommandPoolTest, LeavesNothingRunning) {
  {
    CommandPoolOptions options = script(kAnswer);
    options.concurrency = 2;
    CommandPool pool(spawner_, options);
    ask(pool, questions(8));
    EXPECT_EQ(processes_with(folder_.path().string()).size(), 2u);
  }
  EXPECT_TRUE(all_gone(folder_.path().string()));
}

}  // namespace
}  // namespace orrery::algorithm
