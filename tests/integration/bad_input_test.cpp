// What users get wrong: a message that says where and what, the documented exit code, no hang.
#include <gtest/gtest.h>

#include <fstream>

#include "integration/runs_for_test.h"

namespace orrery::integration {
namespace {

/// A run with a data set of these bytes.
Result train_on(const TemporaryFolder& folder, const std::string& bytes,
                const std::string& more = "") {
  std::ofstream(folder / "data.jsonl", std::ios::binary) << bytes;
  return orrery(3, tiny(folder, "--set dataset.train.path=" + (folder / "data.jsonl").string() +
                                    " --set call.actor_gen.n_seqs=2 --set call.reward.n_seqs=2"
                                    " --set call.actor_train.n_seqs=2"
                                    " --set experiment.total_steps=1 " +
                                    more));
}

const std::string kGood =
    "{\"id\":\"1\",\"prompt\":\"1+1=\",\"answer\":\"2\"}\n"
    "{\"id\":\"2\",\"prompt\":\"1+2=\",\"answer\":\"3\"}\n";

void expect_refused(const Result& result, const std::string& what) {
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find(what), std::string::npos) << result.output;
}

TEST(BadUsage, ConfigurationThatDoesNotExist) {
  expect_refused(orrery(2, "train /nowhere/x.cfg"), "/nowhere/x.cfg");
}

/// Root may read every file: a folder is what nobody can.
TEST(BadUsage, ConfigurationThatCannotBeRead) {
  const TemporaryFolder folder;
  expect_refused(orrery(2, "train " + folder.path().string()), "is a folder");
}

TEST(BadUsage, UnknownOption) {
  expect_refused(orrery(1, "train x.cfg --sett a.b=c"), "did you mean --set?");
}

TEST(BadUsage, IsSaidOnceHoweverManyRanksThereAre) {
  for (const char* arguments : {"train x.cfg --sett a.b=c", "trian x.cfg"}) {
    const Result result = orrery(3, arguments);
    expect_refused(result, "did you mean");
    EXPECT_EQ(result.output.find("did you mean"), result.output.rfind("did you mean"))
        << result.output;
  }
}

TEST(BadUsage, UnknownCommand) {
  expect_refused(orrery(1, "trian x.cfg"), "did you mean 'train'?");
}

TEST(BadUsage, NoWorker) {
  const TemporaryFolder folder;
  expect_refused(orrery(1, tiny(folder)), "at least one worker");
}

TEST(BadUsage, ResumeFromNothing) {
  const TemporaryFolder folder;
  expect_refused(orrery(2, tiny(folder, "--resume /nowhere")), "--resume /nowhere");
}

TEST(BadUsage, AStackThatIsTooSmall) {
  const Result result =
      run("ulimit -s 64; " ORRERY_PROGRAM " plan " + source("configs/grpo_tiny.cfg"));
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find("the stack of this process is too small"), std::string::npos)
      << result.output;
}

TEST(BadUsage, ResultsForAClosedOutput) {
  const TemporaryFolder folder;
  std::ofstream(folder / "in.json") << R"({"sequences": [[1, 2, 3]]})";
  const Result result =
      run(ORRERY_PROGRAM " score --model " + source("tests/fixtures/hf/llama-gqa") + " --tokens " +
          (folder / "in.json").string() + " --out - >&- 0<&-");
  EXPECT_EQ(result.exit_code, 5) << result.output;
}

TEST(BadConfiguration, UnknownKeyWithTheNearestOne) {
  const TemporaryFolder folder;
  expect_refused(orrery(3, tiny(folder, "--set model.actor.n_layer=3")), "did you mean n_layers?");
}

TEST(BadConfiguration, AllProblemsAtOnce) {
  const TemporaryFolder folder;

  const Result result = orrery(3, tiny(folder,
                                       "--set model.actor.lr=much --set call.reward.n_seqs=3 "
                                       "--set call.actor_gen.temperature=-1"));

  expect_refused(result, "model.actor.lr");
  expect_refused(result, "call.actor_gen.temperature");
  expect_refused(result, "n_seqs");
}

TEST(BadConfiguration, LayoutThatDoesNotFitTheWorkers) {
  const TemporaryFolder folder;
  expect_refused(orrery(3, tiny(folder, "--set layout.default=d4t1p1@0-3")), "layout");
}

/// A run of configs/NAME.cfg that must not start.
Result ppo(const TemporaryFolder& folder, const std::string& more) {
  return orrery(4, "train " + source("configs/ppo_tiny.cfg") +
                       " --set experiment.output_dir=" + folder.path().string() + " " + more);
}

TEST(BadConfiguration, LayoutThatTheModelCannotTake) {
  const TemporaryFolder folder;
  // Two blocks and two heads.
  expect_refused(ppo(folder, "--set call.actor_train.layout=d1t1p3@0-2"),
                 "call.actor_train.layout");
  expect_refused(orrery(4, tiny(folder, "--set layout.default=d1t3p1@0-2")), "layout");
  EXPECT_FALSE(std::filesystem::exists(folder / "ppo_tiny")) << "before the run starts";
}

TEST(BadConfiguration, ReplicasThatCannotBeConnected) {
  const TemporaryFolder folder;
  const Result result =
      ppo(folder, "--set call.actor_train.post_realloc=ref --set model.ref.n_layers=3");
  expect_refused(result, "call.actor_train.post_realloc");
  expect_refused(result, "actor and ref have different architectures");
}

TEST(BadConfiguration, InterfaceThatMissesAKey) {
  const TemporaryFolder folder;
  expect_refused(ppo(folder, "--set call.critic_inf.outputs="), "values");
  expect_refused(ppo(folder, "--set call.actor_train.inputs=packed_input_ids,prompt_mask"),
                 "interface ppo_actor needs the key rewards");
}

TEST(BadConfiguration, RewardModelWithAnotherVocabulary) {
  const TemporaryFolder folder;
  const std::string reward_model = "train " + source("configs/ppo_reward_model.cfg") +
                                   " --set experiment.output_dir=" + folder.path().string() + " ";
  expect_refused(orrery(3, reward_model + "--set model.actor.vocab_size=300"),
                 "role reward has a vocabulary of 259, but actor, whose answers it reads, one of "
                 "300");
}

TEST(BadConfiguration, RewardModelThatIsNotThere) {
  const TemporaryFolder folder;
  expect_refused(orrery(3, tiny(folder, "--set model.actor.path=/nowhere/model")),
                 "/nowhere/model");
}

TEST(BadConfiguration, RewardCommandThatIsNotThere) {
  const TemporaryFolder folder;
  const Result result = orrery(3, tiny(folder,
                                       "--set call.reward.interface=command_reward "
                                       "--set call.reward.command=/nowhere/judge"));
  expect_refused(result, "call.reward.command");
  expect_refused(result, "/nowhere/judge");
}

TEST(BadConfiguration, NothingIsLeftBehind) {
  const TemporaryFolder folder;

  orrery(3, tiny(folder, "--set model.actor.lr=much"));

  EXPECT_FALSE(std::filesystem::exists(folder / "grpo_tiny"));
}

TEST(BadRecords, AreNamedByFileAndLine) {
  struct Example {
    const char* what;
    std::string line;
  };
  const Example examples[] = {
      {"bad JSON", "{\"prompt\": \"1+1=\", \n"},
      {"missing field", "{\"id\":\"3\",\"answer\":\"2\"}\n"},
      {"empty prompt", "{\"id\":\"3\",\"prompt\":\"\",\"answer\":\"2\"}\n"},
      {"over-long prompt",
       "{\"id\":\"3\",\"prompt\":\"" + std::string(2000, '1') + "\",\"answer\":\"2\"}\n"},
      {"duplicate id", "{\"id\":\"1\",\"prompt\":\"1+1=\",\"answer\":\"2\"}\n"},
      {"invalid UTF-8", "{\"id\":\"3\",\"prompt\":\"\xff\xfe\",\"answer\":\"2\"}\n"},
  };
  for (const Example& example : examples) {
    SCOPED_TRACE(example.what);
    const TemporaryFolder folder;
    expect_refused(train_on(folder, kGood + example.line), "data.jsonl:3");
  }
}

TEST(BadRecords, AreSkippedWhenThatIsWanted) {
  const TemporaryFolder folder;

  const Result result =
      train_on(folder, kGood + "{ not json\n", "--set dataset.train.on_bad_record=skip");

  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("1 of 3 records rejected"), std::string::npos) << result.output;
}

TEST(BadRecords, AnEmptyFileIsRefused) {
  const TemporaryFolder folder;
  expect_refused(train_on(folder, ""), "data.jsonl");
}

TEST(BadRecords, WindowsLineEndsAreAccepted) {
  const TemporaryFolder folder;
  std::string crlf = kGood;
  for (size_t at = 0; (at = crlf.find('\n', at)) != std::string::npos; at += 2) {
    crlf.replace(at, 1, "\r\n");
  }

  const Result result = train_on(folder, crlf);

  EXPECT_EQ(result.exit_code, 0) << result.output;
}

TEST(FullDisk, EndsTheJobWithAMessageAndKeepsWhatWasWritten) {
  const TemporaryFolder folder;
  const std::string disk = (folder / "disk").string();
  if (run("mkdir " + disk + " && mount -t tmpfs -o size=400k none " + disk).exit_code != 0) {
    GTEST_SKIP() << "needs the right to mount a small file system";
  }

  const Result result = orrery(3, "train " + source("configs/grpo_tiny.cfg") +
                                      " --set experiment.output_dir=" + disk +
                                      " --set experiment.total_steps=2000"
                                      " --set call.reward.dump_samples=false"
                                      " --set export.at_end=false");
  const size_t n_lines = read_jsonl(disk + "/grpo_tiny/metrics.jsonl").size();
  run("umount " + disk);

  EXPECT_EQ(result.exit_code, 5) << result.output;
  EXPECT_NE(result.output.find("No space left on device"), std::string::npos) << result.output;
  EXPECT_GT(n_lines, 5u);
}

}  // namespace
}  // namespace orrery::integration
