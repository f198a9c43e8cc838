// A Python function as the judge, through the runner that is shipped. The function of these tests
// does what a response says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <thread>

#include "algorithm/processes_for_test.h"
#include "base/temporary_folder.h"
#include "orrery/algorithm/answer_judge.h"
#include "orrery/algorithm/command_reward.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kFunction = R"(
import os, subprocess, sys, time

held = []

def value(record):
    response = record["response"]
    if response == "raise":
        raise ValueError("cannot judge this")
    if response == "exit":
        sys.exit(3)
    if response == "die":
        os._exit(3)
    if response == "hang":
        time.sleep(1000)
    if response == "print":
        print("what a lovely answer")
        os.write(1, b"and another line\n")
        subprocess.run(["echo", "and a third"])
        return 1.0
    if response == "chdir":
        os.chdir("/")
        return 1.0
    if response == "where":
        return float(os.path.exists("FOLDER"))
    if response == "fork":
        os.fork()  # the child comes back as well
        return 1.0
    if response == "leave":
        if os.fork() == 0:
            time.sleep(1000)
        return 1.0
    if response == "leak":
        held.append(bytearray(96 << 20))
        return 1.0
    if response == "stdin":
        return float(sys.stdin.read() == "")
    if response == "parts":
        return {"reward": 2, "format": 0.5, "length": None}
    return {"nan": float("nan"), "text": "1.0", "none": None, "dict": {}, "huge": 1e39, "true": True}.get(
        response, 1.5)

def reward(records):
    return [value(record) for record in records]

def short(records):
    return [1.0] * (len(records) - 1) if len(records) != 1 else []

def lonely(records):
    return 1.0

def sums(records):
    return [sum(record["tokens"]) for record in records]
sums.tokens = True

def without_tokens(records):
    return ["tokens" not in record for record in records]

def names(records):
    keys = ["prompt", "rendered_prompt", "response", "answer", "fields", "id", "dataset", "finish", "record"]
    wanted = ["p", "<p>", "r", "a", {"level": 3}, "5/1", "train", "eos", {"line": 7}]
    return [[record[key] for key in keys] == wanted for record in records]
)";

class FunctionRewardTest : public testing::Test {
 protected:
  FunctionRewardTest() {
    std::string text = kFunction;
    text.replace(text.find("FOLDER"), 6, "CMakeCache.txt");
    std::ofstream(folder_ / "judge.py") << text;
  }

  PythonFunction function(const std::string& name = "reward") const {
    return {.where = (folder_ / "judge.py").string() + ":" + name};
  }

  /// The verdicts on these responses of sample 5.
  std::vector<Verdict> verdicts(const std::vector<std::string>& texts,
                                const PythonFunction& function, int64_t concurrency = 1) {
    std::vector<Response> responses;
    for (size_t i = 0; i < texts.size(); ++i) {
      responses.push_back({.sample = {5},
                           .member = static_cast<int>(i),
                           .prompt = "p",
                           .record_prompt = "p",
                           .text = texts[i],
                           .answer = {},
                           .fields = {},
                           .tokens = {1, 2, static_cast<int32_t>(i)}});
      responses.back().record = base::concat("{\"line\":", i, "}");
    }
    return verdicts_on(responses, function, concurrency);
  }

  std::vector<Verdict> verdicts_on(const std::vector<Response>& responses,
                                   const PythonFunction& function, int64_t concurrency = 1) {
    AnswerJudge judge(spawner_,
                      {.command = runner_command(function),
                       .timeout = std::chrono::seconds(5),
                       .start = kFunctionStart,
                       .concurrency = concurrency},
                      function);
    std::vector<const Response*> pointers;
    std::vector<std::string> questions;
    for (const Response& response : responses) {
      pointers.push_back(&response);
      questions.push_back(judge.question(response));
    }
    std::vector<Verdict> result(responses.size());
    std::vector<int> n_decided(responses.size());
    judge.ask(pointers, questions, [&](size_t i, Verdict verdict) {
      result[i] = std::move(verdict);
      ++n_decided[i];
    });
    EXPECT_EQ(n_decided, std::vector<int>(responses.size(), 1));
    restarts_ = judge.take_restarts();
    return result;
  }

  static std::string reason(const Verdict& verdict) {
    return verdict.failure ? std::string(name_of(*verdict.failure)) : "";
  }

  TemporaryFolder folder_;
  Spawner spawner_;
  int64_t restarts_ = 0;
};

TEST_F(FunctionRewardTest, JudgesListsAndOnlyWhatIsToBlameHasNoReward) {
  const std::pair<std::string, std::string> failing[] = {
      {"raise", "raised"},   {"exit", "raised"},    {"die", "died"},
      {"hang", "timeout"},   {"nan", "not_finite"}, {"huge", "not_finite"},
      {"text", "malformed"}, {"dict", "malformed"}, {"none", "abstained"}};
  std::vector<std::string> texts;
  for (const auto& [text, reason] : failing) {
    texts.push_back("well");
    texts.push_back(text);
  }

  const std::vector<Verdict> got = verdicts(texts, function());

  for (size_t i = 0; i < std::size(failing); ++i) {
    EXPECT_EQ(reason(got[2 * i]), "") << got[2 * i].what;
    EXPECT_EQ(got[2 * i].reward, 1.5);
    EXPECT_EQ(reason(got[2 * i + 1]), failing[i].second) << failing[i].first;
  }
}

TEST_F(FunctionRewardTest, NamesTheRecordAndTheTraceback) {
  const std::vector<Verdict> got = verdicts({"well", "raise"}, function());

  EXPECT_THAT(got[1].what, AllOf(HasSubstr("record {\"line\":1}"), HasSubstr("judge.py\", line 9"),
                                 HasSubstr("ValueError: cannot judge this")));
  EXPECT_THAT(got[1].what, Not(HasSubstr("runner.py")));
}

TEST_F(FunctionRewardTest, IsKeptFromTheProtocolAndFromOtherAnswers) {
  const std::vector<std::string> texts = {"print", "chdir", "where", "fork", "well",
                                          "leave", "stdin", "well",  "true"};

  const std::vector<Verdict> got = verdicts(texts, {.where = function().where, .batch_size = 1});

  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(reason(got[i]), "") << texts[i] << got[i].what;
    EXPECT_EQ(got[i].reward, texts[i] == "well"    ? 1.5
                             : texts[i] == "where" ? std::filesystem::exists("CMakeCache.txt")
                                                   : 1);
  }
  EXPECT_EQ(restarts_, 0);
  EXPECT_TRUE(all_gone(function().where));
}

TEST_F(FunctionRewardTest, IsStartedAgainWhenItHoldsTooMuchMemoryAndNothingIsLost) {
  PythonFunction leaking = function();
  leaking.batch_size = 1;
  leaking.max_memory_gib = 0.08;

  const std::vector<Verdict> got = verdicts({"leak", "well", "leak", "well"}, leaking);

  for (const Verdict& verdict : got) EXPECT_EQ(reason(verdict), "") << verdict.what;
  EXPECT_EQ(restarts_, 2);
}

TEST_F(FunctionRewardTest, GivesTheSameWhateverTheBatchesAndProcesses) {
  std::vector<std::string> texts;
  for (int i = 0; i < 50; ++i)
    texts.push_back(i % 7 == 3 ? "raise" : i % 5 == 2 ? "parts" : "well");
  const std::vector<Verdict> expected = verdicts(texts, function());

  for (const int64_t batch_size : {1, 3, 50}) {
    for (const int64_t concurrency : {1, 3}) {
      PythonFunction other = function();
      other.batch_size = batch_size;
      const std::vector<Verdict> got = verdicts(texts, other, concurrency);
      for (size_t i = 0; i < texts.size(); ++i) {
        EXPECT_EQ(got[i].reward, expected[i].reward);
        EXPECT_EQ(got[i].parts, expected[i].parts);
        EXPECT_EQ(reason(got[i]), reason(expected[i]));
        EXPECT_EQ(got[i].what, expected[i].what);
      }
    }
  }
}

TEST_F(FunctionRewardTest, GivesAnswersThatComeOneAfterAnotherTheVerdictsOfThoseInOneList) {
  const std::vector<std::string> texts = {"well", "none", "parts", "raise", "die",
                                          "well", "nan",  "chdir", "print", "true"};
  const std::vector<Verdict> expected = verdicts(texts, function());
  const PythonFunction where = function();
  AnswerJudge judge(spawner_,
                    {.command = runner_command(where),
                     .timeout = std::chrono::seconds(30),
                     .start = kFunctionStart},
                    where);
  std::map<size_t, Verdict> got;
  std::vector<size_t> suspects;
  {
    AnswerJudge::Stream stream(judge, [&](size_t i, Verdict verdict) {
      EXPECT_TRUE(got.emplace(i, std::move(verdict)).second);
    });
    for (size_t i = 0; i < texts.size(); ++i) {
      Response response;
      response.sample = {5};
      response.member = static_cast<int>(i);
      response.text = texts[i];
      response.record = base::concat("{\"line\":", i, "}");
      std::string question = judge.question(response);
      stream.add(std::move(response), std::move(question));
      for (int k = 0; k < 20; ++k) {
        stream.advance();
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
    }
    suspects = stream.finish();
  }

  EXPECT_FALSE(got.empty());
  for (const auto& [i, verdict] : got) {
    EXPECT_EQ(verdict.reward, expected[i].reward) << texts[i];
    EXPECT_EQ(verdict.parts, expected[i].parts) << texts[i];
    EXPECT_EQ(reason(verdict), reason(expected[i])) << texts[i];
    EXPECT_EQ(verdict.what, expected[i].what) << texts[i];
  }
  for (const size_t i : suspects) EXPECT_FALSE(got.contains(i)) << "left, and decided";
}

TEST_F(FunctionRewardTest, HasPartsWithNames) {
  const std::vector<Verdict> got = verdicts({"parts"}, function());

  EXPECT_EQ(got[0].reward, 2);
  EXPECT_EQ(got[0].parts, (std::map<std::string, double>{{"format", 0.5}}));
}

TEST_F(FunctionRewardTest, SaysHowManyRewardsItReturnedForHowMany) {
  EXPECT_THAT(verdicts({"a", "b"}, function("short"))[1].what,
              HasSubstr("returned 0 rewards for 1 records"));
  EXPECT_THAT(verdicts({"a", "b"}, function("lonely"))[0].what,
              HasSubstr("returned no list of rewards: float 1.0"));
}

TEST_F(FunctionRewardTest, IsGivenTokensOnlyIfItAsksForThem) {
  EXPECT_EQ(verdicts({"a", "b"}, function("sums"))[1].reward, 1 + 2 + 1);
  EXPECT_EQ(verdicts({"a"}, function("without_tokens"))[0].reward, 1);
}

TEST_F(FunctionRewardTest, IsGivenWhatIsKnownOfAnAnswer) {
  std::vector<Response> responses = {{.sample = {5},
                                      .member = 1,
                                      .prompt = "<p>",
                                      .record_prompt = "p",
                                      .text = "r",
                                      .answer = "a",
                                      .fields = "{\"level\":3}",
                                      .ended = true}};
  responses[0].dataset = "\"train\"";
  responses[0].record = "{\"line\":7}";

  EXPECT_EQ(verdicts_on(responses, function("names"))[0].reward, 1);
}

TEST_F(FunctionRewardTest, ThatCannotBeImportedIsNamedBeforeTheRun) {
  std::ofstream(folder_ / "broken.py") << "import no_such_module\n";
  const std::string file = (folder_ / "broken.py").string();

  EXPECT_EQ(import_problem(spawner_, function()), std::nullopt);
  EXPECT_THAT(
      import_problem(spawner_, {.where = file + ":reward"}).value(),
      AllOf(HasSubstr("broken.py\", line 1"), HasSubstr("No module named 'no_such_module'")));
  EXPECT_THAT(import_problem(spawner_, function("rewards")).value(),
              AllOf(HasSubstr("has no function rewards; it has"), HasSubstr("reward")));
  EXPECT_THAT(import_problem(spawner_, function("held")).value(), HasSubstr("is a list"));
}

}  // namespace
}  // namespace orrery::algorithm
