// The judge of these tests gives the number that a response is; other responses say what it does
// instead of an answer.
#include "orrery/algorithm/command_reward.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "algorithm/processes_for_test.h"
#include "base/temporary_folder.h"
#include "orrery/algorithm/rewards.h"
#include "orrery/algorithm/rule_reward.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/config/load.h"
#include "support/thread_communicator.h"

namespace orrery::algorithm {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsNan;

constexpr const char* kJudge = R"(
import json, os, sys, time
for line in sys.stdin:
    question = json.loads(line)
    id, response = question["id"], question["response"]
    open(os.path.dirname(__file__) + "/asked", "a").write(response + "\n")
    if response == "hang":
        time.sleep(1000)
    if response == "die":
        print("oh no", file=sys.stderr, flush=True)
        os._exit(3)
    if response == "chat":
        print("what a lovely question", flush=True)
        continue
    if response == "two":
        print('{"id": "%s", "reward": 1}' % id)
    if response == "other":
        id = "99/9"
    print('{"id": "%s", "reward": %s}' % (id, "7" if response in ("two", "other") else response),
          flush=True)
)";

class CommandRewardTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { Spawner::start(); }

  CommandRewardTest() {
    std::ofstream(folder_ / "judge.py") << kJudge;
    options_.command = base::concat("python3 ", (folder_ / "judge.py").string());
    options_.timeout_seconds = 1;
    call_.call = "reward";
    call_.step = 1;
    call_.samples = folder_ / "samples";
    call_.failed_answers = folder_ / "failed_answers";
    std::filesystem::create_directory(call_.samples);
  }

  /// One sample with these answers to `p`.
  static data::SequenceBatch answers(const std::vector<std::string>& texts, uint64_t sample = 5) {
    const data::ByteTokenizer tokenizer;
    std::vector<int64_t> ids;
    std::vector<int32_t> is_prompt, lengths;
    for (const std::string& text : texts) {
      const std::vector<int32_t> tokens = tokenizer.encode("p" + text);
      for (size_t i = 0; i < tokens.size(); ++i) {
        ids.push_back(tokens[i]);
        is_prompt.push_back(i == 0 ? 1 : 0);
      }
      lengths.push_back(static_cast<int32_t>(tokens.size()));
    }
    data::NestedLengths nested;
    nested.add_sample(lengths);
    data::SequenceBatch batch;
    batch.meta.ids = {{sample}};
    batch.set("packed_input_ids", at::tensor(ids, at::kLong), nested);
    batch.set("prompt_mask", at::tensor(is_prompt, at::kInt).to(at::kBool), nested);
    return batch;
  }

  /// The rewards of one call.
  std::vector<float> rewards(CommandReward& interface, const std::vector<std::string>& texts) {
    std::vector<float> result;
    const auto body = [&](comm::Communicator& group) {
      const data::ByteTokenizer tokenizer;
      ModelContext model{.tokenizer = &tokenizer, .data_group = &group};
      const at::Tensor got = interface.inference(model, answers(texts), call_).at("rewards");
      result.assign(got.const_data_ptr<float>(), got.const_data_ptr<float>() + got.numel());
    };
    comm::CommunicatorOptions options;
    options.activity = &activity_;
    comm::run_as_threads(1, body, options);
    return result;
  }

  /// The text of the CallError of one call.
  std::string failure(const std::vector<std::string>& texts) {
    CommandReward interface(options_);
    try {
      rewards(interface, texts);
    } catch (const CallError& error) {
      return error.what();
    }
    return "no failure";
  }

  /// Responses that the judge was asked about, since the last time.
  std::vector<std::string> asked() {
    std::vector<std::string> lines;
    std::ifstream in(folder_ / "asked");
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    std::filesystem::remove(folder_ / "asked");
    return lines;
  }

  TemporaryFolder folder_;
  CommandRewardOptions options_;
  CallContext call_;
  comm::Activity activity_;
};

TEST_F(CommandRewardTest, LeavesOutWhatFailsWhicheverWayAndScoresTheRest) {
  const std::pair<std::string, std::string> failing[] = {
      {"hang", "timeout"},         {"die", "died"},
      {"chat", "malformed"},       {"two", "malformed"},
      {"other", "malformed"},      {"true", "malformed"},
      {"\"1.0\"", "malformed"},    {"[1]", "malformed"},
      {"{}", "malformed"},         {"NaN", "not_finite"},
      {"-Infinity", "not_finite"}, {"1e400", "not_finite"},
      {"1e39", "not_finite"},      {"-1e39", "not_finite"},
      {"null", "abstained"}};
  std::vector<std::string> texts;
  for (const auto& [text, reason] : failing) {
    texts.push_back("1.5");
    texts.push_back(text);
    texts.push_back("-2");
  }
  CommandReward interface(options_);

  const std::vector<float> got = rewards(interface, texts);

  EXPECT_GE(activity_.progress(), texts.size())
      << "nobody takes a worker that waits for one that hangs";
  std::ifstream samples(call_.samples / "step-00000001-rank-0.jsonl");
  for (size_t i = 0; i < texts.size(); i += 3) {
    const auto& [text, reason] = failing[i / 3];
    EXPECT_EQ(got[i], 1.5f) << "before " << text;
    EXPECT_TRUE(std::isnan(got[i + 1])) << text << " became " << got[i + 1];
    EXPECT_EQ(got[i + 2], -2.0f) << "after " << text;
    std::string line;
    std::getline(samples, line);
    EXPECT_FALSE(nlohmann::json::parse(line).contains("failed")) << line;
    std::getline(samples, line);
    const nlohmann::json sample = nlohmann::json::parse(line);
    EXPECT_TRUE(sample.at("reward").is_null()) << line;
    EXPECT_EQ(sample.at("failed"), reason) << line;
    std::getline(samples, line);
  }
  const metrics::Statistics statistics = interface.take_statistics();
  EXPECT_EQ(statistics.value("reward"), -0.25) << "of those that have one";
  EXPECT_EQ(statistics.value("reward_max"), 1.5);
  EXPECT_EQ(statistics.value("failed"), 15);
  EXPECT_NEAR(statistics.value("failed_share").value(), 1.0 / 3, 1e-12);
  EXPECT_EQ(statistics.value("failed/timeout"), 1);
  EXPECT_EQ(statistics.value("failed/died"), 1);
  EXPECT_EQ(statistics.value("failed/malformed"), 7);
  EXPECT_EQ(statistics.value("failed/not_finite"), 5);
  EXPECT_EQ(statistics.value("failed/abstained"), 1);
}

TEST(CommandRewardOptions, OfAFunctionDoNothingForACommand) {
  CommandRewardOptions options;
  options.command = "cat";
  EXPECT_TRUE(options.problems({}).empty());
  options.batch_size = 3;
  options.max_memory_gib = 0.5;

  const std::vector<OptionProblem> found = options.problems({});

  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].key, "batch_size");
  EXPECT_EQ(found[1].key, "max_memory_gib");
  EXPECT_EQ(found[1].severity, OptionProblem::Severity::kWarning);
  EXPECT_THAT(found[1].text, HasSubstr("has no effect on a command"));
}

TEST_F(CommandRewardTest, AFailureGetsARewardOnlyWhenItIsStated) {
  options_.on_failed_answer = "-0.5";
  options_.max_failed_share = 1;
  CommandReward interface(options_);

  const std::vector<float> got = rewards(interface, {"die", "1", "null", "NaN"});

  EXPECT_EQ(got[0], -0.5f);
  EXPECT_EQ(got[1], 1.0f);
  EXPECT_THAT(got[2], IsNan()) << "who abstains gives none";
  EXPECT_EQ(got[3], -0.5f);
  std::ifstream samples(call_.samples / "step-00000001-rank-0.jsonl");
  std::string line;
  std::getline(samples, line);
  EXPECT_EQ(nlohmann::json::parse(line).at("failed"), "died");
  EXPECT_EQ(nlohmann::json::parse(line).at("reward"), -0.5);
}

TEST_F(CommandRewardTest, StopEndsAtTheFirstFailureAndNotAtAnAbstention) {
  options_.on_failed_answer = "stop";
  EXPECT_THAT(
      failure({"1", "null", "2", "die", "3"}),
      AllOf(HasSubstr("answer 5/3 has no reward"), HasSubstr("died 1"), HasSubstr("status 3"),
            HasSubstr("oh no"), HasSubstr("call.reward.on_failed_answer")));
  EXPECT_EQ(failure({"1", "null", "2"}), "no failure");
  EXPECT_FALSE(std::filesystem::exists(call_.failed_answers / "x"));
}

TEST_F(CommandRewardTest, TooManyFailuresInAStepStopTheJobAsSoonAsTheyAreTooMany) {
  options_.max_failed_share = 0.4;

  const std::string text =
      failure({"1", "2", "null", "null", "true", "3", "4", "NaN", "5", "6", "7", "null"});

  EXPECT_THAT(text, AllOf(HasSubstr("5 of 12 answers of the step have no reward"),
                          HasSubstr("at most a share of 0.4"), HasSubstr("5/2 (null)"),
                          HasSubstr("malformed 1, not_finite 1, abstained 3"),
                          HasSubstr("judge.py"), HasSubstr("call.reward.max_failed_share")));
  EXPECT_FALSE(std::filesystem::exists(call_.failed_answers)) << "it is asked for again";
  asked();
  EXPECT_THAT(failure({"null", "true", "1", "2"}), HasSubstr("2 of 4"));
  EXPECT_EQ(asked().size(), 3u) << "it stops early";
  call_.calls_per_step = 2;  // as many will come
  EXPECT_EQ(failure({"null", "true", "1", "2"}), "no failure");
}

TEST_F(CommandRewardTest, FewerInAStepAreTooManyOverTwentySteps) {
  CommandReward interface(options_);
  for (call_.step = 1; call_.step < 20; ++call_.step) rewards(interface, {"1", "1", "null"});

  EXPECT_THROW(rewards(interface, {"1", "1", "null"}), CallError);

  options_.max_failed_share_20_steps = 0.34;
  CommandReward lenient(options_);
  for (call_.step = 1; call_.step < 30; ++call_.step) rewards(lenient, {"1", "1", "null"});
}

TEST_F(CommandRewardTest, AResumedRunReusesDecisionsWhoeverMadeThem) {
  options_.timeout_seconds = 0.5;
  options_.max_failed_share = 1;
  const std::vector<std::string> texts = {"1", "hang", "2", "die"};
  {
    call_.data_rank = 1;  // of a layout with two data ranks
    CommandReward interface(options_);
    rewards(interface, texts);
    EXPECT_EQ(interface.take_statistics().value("command_restarts"), 3);
  }
  asked();
  std::ofstream(call_.failed_answers / "reward-rank-1.jsonl", std::ios::app)
      << "{\"step\":1,\"call\":\"rew";  // torn by a power failure
  std::ofstream(folder_ / "judge.py") << R"(
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    open(sys.path[0] + "/asked", "a").write(question["response"] + "\n")
    print('{"id": "%s", "reward": 8}' % question["id"], flush=True)
)";
  call_.data_rank = 0;
  CommandReward resumed(options_);

  EXPECT_THAT(rewards(resumed, texts), testing::ElementsAre(8, IsNan(), 8, IsNan()));
  EXPECT_EQ(asked(), std::vector<std::string>({"1", "2"}));
  const metrics::Statistics statistics = resumed.take_statistics();
  EXPECT_EQ(statistics.value("failed/timeout"), 1);
  EXPECT_EQ(statistics.value("failed/died"), 1);
  EXPECT_EQ(statistics.value("command_restarts"), 3) << "as the step had them";

  // Another answer in the same place, and the same one in another step, are questions of their own.
  EXPECT_THAT(rewards(resumed, {"1", "hang on", "2", "die"}),
              testing::ElementsAre(8, 8, 8, IsNan()));
  call_.step = 2;
  EXPECT_THAT(rewards(resumed, texts), testing::ElementsAre(8, 8, 8, 8));
}

TEST_F(CommandRewardTest, ADecisionAfterATornLineCanBeRead) {
  std::filesystem::create_directory(call_.failed_answers);
  std::ofstream(call_.failed_answers / "reward-rank-0.jsonl") << "{\"step\":1,\"ca";
  {
    CommandReward interface(options_);
    rewards(interface, {"1", "2", "null"});
  }
  asked();
  CommandReward again(options_);
  rewards(again, {"1", "2", "null"});
  EXPECT_EQ(asked(), std::vector<std::string>({"1", "2"}));
}

TEST_F(CommandRewardTest, ShardsThatAreNoHeadsAskNothing) {
  comm::run_as_threads(1, [&](comm::Communicator& group) {
    const data::ByteTokenizer tokenizer;
    ModelContext model{.tokenizer = &tokenizer, .data_group = &group, .is_dp_head = false};
    CommandReward interface(options_);
    EXPECT_EQ(interface.inference(model, answers({"1"}), call_).at("rewards").item<float>(), 0);
    EXPECT_EQ(interface.state(), "");
  });
  EXPECT_TRUE(asked().empty());
}

TEST_F(CommandRewardTest, ItsStateIsTheLastStepsAndGoesOn) {
  CommandReward interface(options_);
  for (call_.step = 1; call_.step < 20; ++call_.step) rewards(interface, {"1", "1", "null"});
  CommandReward resumed(options_);

  resumed.restore(interface.state());

  EXPECT_THAT(resumed.state(), HasSubstr("[5,2,\"abstained\"]"));
  EXPECT_EQ(resumed.state(), interface.state());
  EXPECT_THROW(rewards(resumed, {"1", "1", "null"}), CallError) << "the twentieth";
  EXPECT_THROW(resumed.restore("kl_coef 0x1p+0"), CheckpointError);
}

TEST(CommandRewardOptions, OnFailedAnswerIsAWordOrANumber) {
  const config::Check check = failed_answer_choice();
  for (const char* right : {"stop", "leave_out", "0", "-1.5", "1e30"}) {
    EXPECT_EQ(check.problem(right), std::nullopt) << right;
  }
  for (const char* wrong : {"", "leave out", "nan", "inf", "1e39", "zero"}) {
    EXPECT_THAT(check.problem(wrong).value(), HasSubstr("stop, leave_out or a number")) << wrong;
  }
}

TEST(GatherFailed, GivesAllRanksThoseOfAll) {
  comm::run_as_threads(3, [](comm::Communicator& group) {
    std::vector<FailedAnswer> own;
    if (group.rank() != 1) own.push_back({.sample = 7, .member = group.rank()});
    if (group.rank() == 2) {
      own.push_back({.sample = 9, .member = 1, .reason = FailureReason::kAbstained});
    }

    const std::vector<FailedAnswer> all = gather_failed(own, group);

    EXPECT_EQ(text_of(all), "timeout 2, abstained 1: 7/0, 7/2, 9/1");
    EXPECT_TRUE(gather_failed({}, group).empty());
  });
}

TEST(FailedShare, ForgetsStepsThatAreDoneAgain) {
  FailedShare share;
  for (int64_t step = 1; step <= 30; ++step) share.add(step, 10, 10, {{.sample = 1}});
  EXPECT_EQ(share.of_window()->failed, 20);
  EXPECT_EQ(share.of_window()->answers, 200);

  share.add(26, 10, 10, {});  // resumed after step 25: that has one already

  EXPECT_EQ(share.of_step().failed, 1) << "a second run of the call in this step";
  EXPECT_EQ(share.of_step().answers, 20);
  EXPECT_FALSE(share.of_window()) << "16 steps are known";
}

TEST(CheckFinite, NamesTheAnswerThatHasNone) {
  data::SequenceBatch batch;
  batch.meta.ids = {{4}, {9}};
  batch.set("packed_input_ids", at::zeros({6}, at::kLong), {{2, 2}, {2}});
  EXPECT_NO_THROW(check_finite(batch, {1, 2, 3}, ""));
  for (const float wrong : {std::nanf(""), -HUGE_VALF}) {
    try {
      check_finite(batch, {1, wrong, 3}, "look there");
      FAIL() << wrong;
    } catch (const CallError& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr("answer 4/1"), HasSubstr("look there")));
    }
  }
}

}  // namespace
}  // namespace orrery::algorithm
