// A run that was interrupted and goes on, beside one that nothing interrupted.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <random>

#include "integration/runs_for_test.h"
#include "orrery/base/text.h"
#include "orrery/checkpoint/manifest.h"

namespace orrery::integration {
namespace {

namespace fs = std::filesystem;

/// Everything that a run recorded but times and rates, by step, call and name.
std::map<std::string, std::vector<nlohmann::json>> records_of(const fs::path& run_directory) {
  std::map<std::string, std::vector<nlohmann::json>> records;
  for (const auto& row : read_jsonl(run_directory / "metrics.jsonl")) {
    for (const auto& [name, value] : row["metrics"].items()) {
      if (name.starts_with("time/") || name.ends_with("_per_second")) continue;
      records[row["step"].dump() + " " + row["call"].dump() + " " + name].push_back(value);
    }
  }
  return records;
}

std::string weights_of(const fs::path& run_directory, const std::string& role = "actor") {
  std::ifstream in(run_directory / "models/latest" / role / "model.safetensors", std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Names of the files and numbers of the lines of samples/.
std::map<std::string, size_t> samples_of(const fs::path& run_directory) {
  std::map<std::string, size_t> samples;
  for (const auto& entry : fs::directory_iterator(run_directory / "samples")) {
    samples[entry.path().filename()] = read_jsonl(entry.path()).size();
  }
  return samples;
}

struct Experiment {
  std::string config;
  std::string sets;  // further arguments
};

/// Trains `experiment` as the run `name` of `folder`, 10 steps with a checkpoint every 3.
Result train(const TemporaryFolder& folder, const Experiment& experiment, const std::string& name,
             const std::string& more = "", const std::string& environment = "") {
  return run(environment +
             " OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PMIX_MCA_psec=native "
             "OMP_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1 mpirun --oversubscribe -n 3 " +
             ORRERY_PROGRAM + " train " + source(experiment.config) +
             " --set experiment.output_dir=" + folder.path().string() + " --set experiment.name=" +
             name + " --set experiment.total_steps=10 --set checkpoint.every_steps=3 " +
             experiment.sets + " " + more);
}

void expect_same_run(const TemporaryFolder& folder) {
  EXPECT_EQ(records_of(folder / "whole"), records_of(folder / "cut"));
  EXPECT_EQ(samples_of(folder / "whole"), samples_of(folder / "cut"));
  EXPECT_EQ(weights_of(folder / "whole"), weights_of(folder / "cut"));
}

class Resume : public testing::TestWithParam<Experiment> {};

TEST_P(Resume, GoesOnBitForBitWhereverItWasKilled) {
  const TemporaryFolder folder;
  const Result whole = train(folder, GetParam(), "whole");
  ASSERT_EQ(whole.exit_code, 0) << whole.output;

  // Killed at the first save, so there is no checkpoint; then between two; then in the third.
  EXPECT_NE(train(folder, GetParam(), "cut", "", "ORRERY_FAULT=checkpoint.data:kill:1").exit_code,
            0);
  EXPECT_NE(train(folder, GetParam(), "cut", "", "ORRERY_FAULT=checkpoint.rename:kill:2").exit_code,
            0);
  EXPECT_NE(
      train(folder, GetParam(), "cut", "", "ORRERY_FAULT=checkpoint.pointer:kill:1").exit_code, 0);
  const Result last = train(folder, GetParam(), "cut");

  ASSERT_EQ(last.exit_code, 0) << last.output;
  EXPECT_NE(last.output.find("goes on after step"), std::string::npos) << last.output;
  expect_same_run(folder);
}

INSTANTIATE_TEST_SUITE_P(
    Algorithms, Resume,
    testing::Values(
        Experiment{"configs/sft_arithmetic.cfg",
                   "--set call.sft.n_seqs=8 --set model.actor.n_layers=2 "
                   "--set evaluate.every_steps=4 --set evaluate.max_prompts=8"},
        Experiment{"configs/grpo_tiny.cfg", ""},
        Experiment{
            "configs/ppo_tiny.cfg",
            "--set call.actor_train.adaptive_kl=true --set call.critic_train.adaptive_kl=true"},
        // Masters of the trained roles and the fp32 shadow of the reference must survive as well.
        Experiment{"configs/ppo_tiny.cfg",
                   "--set model.actor.dtype=bf16 --set model.critic.dtype=bf16 "
                   "--set model.ref.dtype=bf16 --set call.actor_train.post_realloc=ref "
                   "--set call.actor_train.ema_decay=0.9"}),
    [](const testing::TestParamInfo<Experiment>& experiment) {
      const std::string name = experiment.param.config;
      if (experiment.param.sets.find("bf16") != std::string::npos) return "Bf16";
      return name.find("sft") != std::string::npos   ? "Sft"
             : name.find("ppo") != std::string::npos ? "Ppo"
                                                     : "Grpo";
    });

/// Dynamic sampling of answers of which one in seven is right: half of the groups are rejected, and
/// most steps leave some over.
Experiment sampled(const TemporaryFolder& folder) {
  return {"configs/grpo_tiny.cfg",
          judged(folder) +
              "--set dynamic_sampling.enabled=true --set dynamic_sampling.correct_above=0.9 "
              "--set dynamic_sampling.groups_per_round=16 "
              "--set dynamic_sampling.filter_after_answers=8 "
              "--set dynamic_sampling.max_pass_rate=0.8 "
              "--set call.reward.overlong_max_length=6 --set call.reward.overlong_buffer=3 "
              "--set call.reward.overlong_penalty=0.05"};
}

TEST(ResumeOfDynamicSampling, GoesOnBitForBitWithTheGroupsThatWereCarriedOver) {
  const TemporaryFolder folder;
  const Experiment experiment = sampled(folder);
  const Result whole = train(folder, experiment, "whole");
  ASSERT_EQ(whole.exit_code, 0) << whole.output;

  for (const char* fault :
       {"checkpoint.data:kill:1", "checkpoint.rename:kill:2", "checkpoint.pointer:kill:1"}) {
    EXPECT_NE(train(folder, experiment, "cut", "", base::concat("ORRERY_FAULT=", fault)).exit_code,
              0);
  }
  const Result last = train(folder, experiment, "cut");

  ASSERT_EQ(last.exit_code, 0) << last.output;
  expect_same_run(folder);
  const auto is_positive = [](double value) { return value > 0; };
  for (const char* metric : {"dynamic_sampling/carried_over", "dynamic_sampling/rejected_groups",
                             "reward/overlong_share"}) {
    const std::vector<double> values = values_of(folder / "whole", metric);
    EXPECT_TRUE(std::any_of(values.begin(), values.end(), is_positive)) << metric;
  }
}

TEST(ResumeOfDynamicSampling, GoesOnInAnotherLayoutWithTheSameGroups) {
  const TemporaryFolder folder;
  const Experiment experiment = sampled(folder);
  ASSERT_EQ(train(folder, experiment, "whole", "--set layout.default=d1t1p1@0").exit_code, 0);
  EXPECT_NE(train(folder, experiment, "cut", "--set layout.default=d1t1p1@0",
                  "ORRERY_FAULT=checkpoint.rename:kill:2")
                .exit_code,
            0);

  const Result last = train(folder, experiment, "cut", "--set layout.default=d2t1p1@0-1");

  ASSERT_EQ(last.exit_code, 0) << last.output;
  for (const char* metric : {"dynamic_sampling/carried_in", "dynamic_sampling/rounds"}) {
    EXPECT_EQ(values_of(folder / "cut", metric).at(3), values_of(folder / "whole", metric).at(3));
  }
}

const Experiment kPpo{"configs/ppo_tiny.cfg", ""};

TEST(ResumeOnPurpose, ASignalEndsTheStepWritesACheckpointAndExitsWith85) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "whole").exit_code, 0);

  // The limit of the batch job is so near that no step fits: it stops before each, after none.
  const Result stopped =
      train(folder, kPpo, "cut", "", "SLURM_JOB_END_TIME=$(( $(date +%s) + 5 ))");
  EXPECT_EQ(stopped.exit_code, 85) << stopped.output;
  EXPECT_NE(stopped.output.find("stopped as asked: step 0 is whole"), std::string::npos)
      << stopped.output;
  EXPECT_NE(stopped.output.find("the same command goes on"), std::string::npos) << stopped.output;
  const Result last = train(folder, kPpo, "cut");

  ASSERT_EQ(last.exit_code, 0) << last.output;
  EXPECT_EQ(records_of(folder / "whole"), records_of(folder / "cut"));
}

TEST(ResumeOnPurpose, AFinishedRunDoesNothingMore) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "cut").exit_code, 0);
  const auto before = records_of(folder / "cut");

  const Result again = train(folder, kPpo, "cut");

  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_EQ(records_of(folder / "cut"), before);
}

TEST(ResumeWarns, OfWhatLastsTwentyStepsAlsoInJobsOfNine) {
  const TemporaryFolder folder;
  std::ofstream(folder / "judge.py") << R"(
import json, sys
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "reward": 1}), flush=True)
)";
  const std::string judge =
      "--set call.reward.interface=command_reward --set call.reward.command="
      "\"python3 -u " +
      (folder / "judge.py").string() + "\" ";
  const std::string warning = "for 20 steps every answer has had the same reward";
  for (const int steps : {9, 18, 27}) {
    const Result result = train(folder, {"configs/grpo_tiny.cfg", judge}, "cut",
                                "--set experiment.total_steps=" + std::to_string(steps));
    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_EQ(result.output.find(warning) != std::string::npos, steps == 27) << result.output;
  }
}

TEST(ResumeElsewhere, AnotherLayoutOnMoreWorkersStartsFromTheSameNumbers) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "cut").exit_code, 0);
  const std::string trained = weights_of(folder / "cut");
  const std::string critic = weights_of(folder / "cut", "critic");

  // No step is left: what another run exports is what it loaded, gathered from the new layout.
  const std::string there = " --set experiment.output_dir=" + folder.path().string() + " ";
  const Result other =
      orrery(5, "train " + source("configs/ppo_layouts.cfg") + there +
                    "--set experiment.name=other --set experiment.total_steps=10 --resume " +
                    (folder / "cut").string());
  const Result more = orrery(5, "train " + source("configs/ppo_layouts.cfg") + there +
                                    "--set experiment.name=cut --set experiment.total_steps=12");

  ASSERT_EQ(other.exit_code, 0) << other.output;
  EXPECT_EQ(weights_of(folder / "other"), trained);
  EXPECT_EQ(weights_of(folder / "other", "critic"), critic);
  ASSERT_EQ(more.exit_code, 0) << more.output;
  EXPECT_NE(more.output.find("goes on after step 10"), std::string::npos) << more.output;
  EXPECT_NE(weights_of(folder / "cut"), trained);
}

TEST(ResumeElsewhere, ARecordThatCannotBeTakenIsLeftOutFromThenOn) {
  const TemporaryFolder folder;
  std::ofstream data(folder / "d.jsonl");
  for (int i = 0; i < 16; ++i) {
    data << "{\"prompt\": \"" << (i == 9 ? "100+100=" : "1+1=") << "\", \"answer\": 2}\n";
  }
  data.close();
  const std::string run = tiny(folder, "--set dataset.train.path=" + (folder / "d.jsonl").string() +
                                           " --set evaluate.at_end=false --set export.at_end=false "
                                           "--set checkpoint.every_steps=1 ");

  const Result before = orrery(2, run + "--set experiment.total_steps=1");
  const Result refused = orrery(2, run + "--set dataset.train.max_prompt_tokens=6");
  const Result mended = orrery(2, run +
                                      "--set dataset.train.max_prompt_tokens=6 "
                                      "--set dataset.train.on_bad_record=skip");

  ASSERT_EQ(before.exit_code, 0) << before.output;
  EXPECT_EQ(refused.exit_code, 2) << refused.output;
  ASSERT_EQ(mended.exit_code, 0) << mended.output;
  EXPECT_NE(mended.output.find("goes on after step 1"), std::string::npos) << mended.output;
  EXPECT_NE(mended.output.find("dataset.train.on_bad_record: was fail, is skip"), std::string::npos)
      << mended.output;
  EXPECT_NE(mended.output.find("1 of 16 records rejected"), std::string::npos) << mended.output;
}

/// Names of what is in checkpoints/.
std::vector<std::string> checkpoints_of(const fs::path& run_directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(run_directory / "checkpoints")) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST(ResumePath, MeansWhatItLeadsToHoweverItIsWritten) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "cut").exit_code, 0);
  fs::create_directory_symlink(folder.path(), folder / "link");
  int steps = 10;
  for (const std::string& name :
       {std::string("cut/checkpoints/latest"), std::string("cut/checkpoints/./latest/"),
        std::string("link/cut/"), std::string("link/link/cut/checkpoints"),
        std::string("cut/../cut")}) {
    const std::string from = "goes on after step " + std::to_string(steps);
    steps += 1;
    const Result result = train(folder, kPpo, "cut",
                                "--resume " + (folder / name).string() +
                                    " --set experiment.total_steps=" + std::to_string(steps));

    ASSERT_EQ(result.exit_code, 0) << name << result.output;
    EXPECT_NE(result.output.find(from), std::string::npos) << name << result.output;
  }
  // The run directory itself by another name.
  const Result linked = train(
      folder, kPpo, "cut",
      "--set experiment.total_steps=16 --set experiment.output_dir=" + (folder / "link").string());
  ASSERT_EQ(linked.exit_code, 0) << linked.output;
  EXPECT_NE(linked.output.find("goes on after step 15"), std::string::npos) << linked.output;
  EXPECT_FALSE(fs::exists(folder / "cut.1"));
  for (const std::string& name : checkpoints_of(folder / "cut")) {
    EXPECT_EQ(name.find(".damaged"), std::string::npos) << name;
  }
}

TEST(ResumePath, OfAnOlderCheckpointKeepsTheNewerOnes) {
  const TemporaryFolder folder;
  const std::string more = " --set checkpoint.keep=9";
  ASSERT_EQ(train(folder, kPpo, "cut", more).exit_code, 0);
  const std::string older = (folder / "cut/checkpoints/step-00000006/").string();

  const Result once = train(folder, kPpo, "cut", more + " --resume " + older);
  const Result twice = train(folder, kPpo, "cut", more + " --resume " + older);
  const Result put_aside =
      train(folder, kPpo, "cut",
            more + " --resume " + (folder / "cut/checkpoints/step-00000009.abandoned").string());

  ASSERT_EQ(once.exit_code, 0) << once.output;
  ASSERT_EQ(twice.exit_code, 0) << twice.output;
  EXPECT_NE(once.output.find("kept as step-00000009.abandoned"), std::string::npos) << once.output;
  EXPECT_EQ(put_aside.exit_code, 2);
  EXPECT_EQ(checkpoints_of(folder / "cut"),
            (std::vector<std::string>{"latest", "step-00000003", "step-00000006", "step-00000009",
                                      "step-00000009.abandoned", "step-00000009.abandoned.1",
                                      "step-00000010", "step-00000010.abandoned",
                                      "step-00000010.abandoned.1"}));
}

TEST(ResumePath, OfAnOlderCheckpointKeepsTheModelsOfTheNewerStepsAndTheNewOne) {
  const TemporaryFolder folder;
  const std::string more =
      " --set checkpoint.every_steps=1 --set checkpoint.keep=9 --set export.every_steps=1 "
      "--set export.keep=2 --set experiment.total_steps=";
  ASSERT_EQ(train(folder, kPpo, "cut", more + "4").exit_code, 0);

  const Result older =
      train(folder, kPpo, "cut",
            more + "2 --resume " + (folder / "cut/checkpoints/step-00000001").string());

  ASSERT_EQ(older.exit_code, 0) << older.output;
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder / "cut/models")) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"latest", "step-00000002", "step-00000003.abandoned",
                                             "step-00000004.abandoned"}));
  EXPECT_EQ(fs::read_symlink(folder / "cut/models/latest"), "step-00000002");
}

TEST(ResumePath, OfAnotherRunIsWhereThisOneBegan) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "first").exit_code, 0);
  const std::string from = " --resume " + (folder / "first").string();
  ASSERT_EQ(train(folder, kPpo, "second", from + " --set experiment.total_steps=11").exit_code, 0);

  const Result again = train(folder, kPpo, "second", from + " --set experiment.total_steps=12");

  ASSERT_EQ(again.exit_code, 0) << again.output;
  EXPECT_NE(again.output.find("goes on after step 11"), std::string::npos) << again.output;
  EXPECT_FALSE(fs::exists(folder / "second.1"));
}

/// The run `cut` ended with 5 and this text; its records are as `before`, and no other was begun.
void expect_unreadable(const TemporaryFolder& folder, const Result& result, const std::string& text,
                       const std::map<std::string, std::vector<nlohmann::json>>& before) {
  EXPECT_EQ(result.exit_code, 5) << result.output;
  EXPECT_NE(result.output.find(text), std::string::npos) << result.output;
  EXPECT_EQ(records_of(folder / "cut"), before);
  EXPECT_FALSE(fs::exists(folder / "cut.1"));
}

TEST(ResumeRefuses, CheckpointsThatCannotBeListedOrReached) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "cut").exit_code, 0);
  const auto before = records_of(folder / "cut");
  fs::rename(folder / "cut/checkpoints", folder / "elsewhere");
  fs::create_directory_symlink("not_mounted", folder / "cut/checkpoints");

  const Result result = train(folder, kPpo, "cut", "--set experiment.total_steps=12");

  expect_unreadable(folder, result, "cut/checkpoints: cannot follow this link", before);
}

TEST(ResumeOfACopy, WhosePointersAreCopiesAsWellGoesOn) {
  const TemporaryFolder folder;
  const std::string exports = " --set export.every_steps=3";
  ASSERT_EQ(train(folder, kPpo, "whole", exports).exit_code, 0);
  ASSERT_EQ(
      run("cp -rL " + (folder / "whole").string() + " " + (folder / "cut").string()).exit_code, 0);

  const Result result = train(folder, kPpo, "cut", exports + " --set experiment.total_steps=12");

  ASSERT_EQ(result.exit_code, 0) << result.output;
  for (const char* name : {"checkpoints", "models"}) {
    EXPECT_EQ(fs::read_symlink(folder / "cut" / name / "latest"), "step-00000012") << name;
    EXPECT_TRUE(fs::is_directory(folder / "cut" / name / "latest.copy")) << name;
  }
  EXPECT_NE(result.output.find("models/latest is no link"), std::string::npos) << result.output;
}

/// Moves a checkpoint of the run `cut` to the folder `disk` and leaves a link.
void move_to_disk(const TemporaryFolder& folder, const std::string& name) {
  fs::create_directories(folder / "disk");
  fs::rename(folder / "cut/checkpoints" / name, folder / "disk" / name);
  fs::create_directory_symlink(folder / "disk" / name, folder / "cut/checkpoints" / name);
}

TEST(ResumeOfMovedCheckpoints, GoesOnFromWhatTheirLinksLeadTo) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "cut").exit_code, 0);
  for (const char* name : {"step-00000009", "step-00000010"}) move_to_disk(folder, name);

  const Result newest = train(folder, kPpo, "cut", "--set experiment.total_steps=11");
  const Result verified = orrery_alone("verify " + (folder / "cut").string());
  const Result named = train(folder, kPpo, "cut",
                             "--set experiment.total_steps=11 --resume " +
                                 (folder / "cut/checkpoints/step-00000010").string());
  const Result by_place =
      train(folder, kPpo, "cut",
            "--set experiment.total_steps=11 --resume " + (folder / "disk/step-00000010").string());

  ASSERT_EQ(newest.exit_code, 0) << newest.output;
  EXPECT_NE(newest.output.find("goes on after step 10"), std::string::npos) << newest.output;
  EXPECT_FALSE(fs::exists(folder / "cut.1"));
  EXPECT_EQ(verified.exit_code, 0) << verified.output;
  EXPECT_NE(verified.output.find("cut/checkpoints/step-00000010"), std::string::npos)
      << verified.output;
  for (const Result& result : {named, by_place}) {
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_NE(result.output.find("goes on after step 10"), std::string::npos) << result.output;
    EXPECT_NE(result.output.find("kept as step-00000011.abandoned"), std::string::npos)
        << result.output;
  }
}

TEST(ResumeOfMovedCheckpoints, IsRefusedWhereALinkLeadsNowhere) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "cut").exit_code, 0);
  const auto before = records_of(folder / "cut");
  move_to_disk(folder, "step-00000010");
  fs::rename(folder / "disk", folder / "unmounted");

  const Result result = train(folder, kPpo, "cut", "--set experiment.total_steps=12");

  expect_unreadable(folder, result, "step-00000010: cannot follow this link", before);
  EXPECT_TRUE(fs::is_symlink(folder / "cut/checkpoints/step-00000010"));
}

TEST(ResumeRefuses, ACheckpointThatCannotBeReadWhichIsNoDamage) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "cut").exit_code, 0);
  const std::vector<std::string> before = checkpoints_of(folder / "cut");
  const fs::path newest = folder / "cut/checkpoints/step-00000010";
  for (const char* name : {"manifest.json", "master.h5", "worker-0001.h5"}) {
    fs::rename(newest / name, folder / name);
    fs::create_symlink("not_mounted", newest / name);

    const Result result = train(folder, kPpo, "cut", "--set experiment.total_steps=12");

    EXPECT_EQ(result.exit_code, 5) << result.output;
    EXPECT_NE(result.output.find(std::string(name) + ": cannot follow this link"),
              std::string::npos)
        << result.output;
    EXPECT_EQ(checkpoints_of(folder / "cut"), before);
    fs::rename(folder / name, newest / name);
  }
  EXPECT_EQ(train(folder, kPpo, "cut", "--set experiment.total_steps=12").exit_code, 0);
}

TEST(ResumeOnOtherInstructions, SaysThatTheLastBitsWillDiffer) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "cut", "--set experiment.amx=off").exit_code, 0);
  const fs::path newest = folder / "cut/checkpoints/latest";
  checkpoint::Manifest manifest = checkpoint::read_manifest(newest);
  ASSERT_EQ(manifest.instruction_sets.size(), 2u);
  const std::string here = manifest.instruction_sets.front();

  const Result same =
      train(folder, kPpo, "cut", "--set experiment.amx=off --set experiment.total_steps=11");
  manifest = checkpoint::read_manifest(newest);
  manifest.instruction_sets = {"vsx", "vsx"};
  std::ofstream(newest / "manifest.json") << checkpoint::manifest_text(manifest);
  const Result other =
      train(folder, kPpo, "cut", "--set experiment.amx=off --set experiment.total_steps=12");

  ASSERT_EQ(same.exit_code, 0) << same.output;
  EXPECT_EQ(same.output.find("goes on with"), std::string::npos) << same.output;
  ASSERT_EQ(other.exit_code, 0) << other.output;
  EXPECT_NE(other.output.find("step-00000011 was computed with vsx, goes on with " + here +
                              ": numbers will differ in the last bits"),
            std::string::npos)
      << other.output;
}

TEST(ResumeNotes, ThatAmxWasSwitchedOff) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "cut").exit_code, 0);

  const Result unknown = train(folder, kPpo, "cut", "--set experiment.amx=on");
  const Result off =
      train(folder, kPpo, "cut", "--set experiment.amx=off --set experiment.total_steps=11");

  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_NE(unknown.output.find("experiment.amx: must be one of auto, off, got 'on'"),
            std::string::npos)
      << unknown.output;
  ASSERT_EQ(off.exit_code, 0) << off.output;
  EXPECT_NE(off.output.find("experiment.amx: was auto, is off"), std::string::npos) << off.output;
}

TEST(ResumeAccept, ChangesAKeyThatIsNamedAndRecordsIt) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "cut").exit_code, 0);
  const std::string change =
      "--set call.actor_train.clip_range=0.3 --set experiment.total_steps=11 "
      "--accept call.actor_train.clip_range,call.actor_train.c_clip";

  const Result refused = train(folder, kPpo, "cut", "--set call.actor_train.clip_range=0.3");
  const Result result = train(folder, kPpo, "cut", change);
  const Result never =
      train(folder, kPpo, "cut", "--set experiment.seed=2 --accept experiment.seed");

  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.output.find("--accept"), std::string::npos) << refused.output;
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(
      result.output.find("accepted after step 10: call.actor_train.clip_range: was 0.2, is 0.3"),
      std::string::npos)
      << result.output;
  std::ifstream config(folder / "cut/config.cfg");
  std::string first;
  std::getline(config, first);
  EXPECT_EQ(first, "# accepted after step 10: call.actor_train.clip_range: was 0.2, is 0.3");
  EXPECT_EQ(never.exit_code, 2);
  EXPECT_NE(never.output.find("can never be accepted"), std::string::npos) << never.output;
}

TEST(ResumeAccept, RecordsWhatGoesOnDifferentlyWhetherItIsNamedOrNot) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "cut").exit_code, 0);

  // The first of the two attempts from step 10 leaves no checkpoint, so it changed nothing.
  const Result attempt = train(folder, kPpo, "cut", "--set model.actor.lr=1e-3");
  const Result named = train(folder, kPpo, "cut",
                             "--set model.actor.lr=1e-4 --set experiment.total_steps=11 "
                             "--accept model.actor.lr");
  const Result unnamed = train(folder, kPpo, "cut",
                               "--set model.actor.lr=1e-4 --set model.critic.weight_decay=0.5 "
                               "--set experiment.total_steps=11");

  for (const Result& result : {attempt, named, unnamed}) {
    ASSERT_EQ(result.exit_code, 0) << result.output;
  }
  std::vector<std::string> head;
  std::ifstream config(folder / "cut/config.cfg");
  for (std::string line; std::getline(config, line) && line.find(" after step ") != line.npos;) {
    head.push_back(line.substr(0, line.find(" was")));
  }
  EXPECT_EQ(head,
            (std::vector<std::string>{"# accepted after step 10: model.actor.lr:",
                                      "# changed after step 10: experiment.total_steps:",
                                      "# changed after step 11: model.critic.weight_decay:"}));
}

TEST(ResumeRefuses, AnotherExperimentByTheNamesOfWhatChanged) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "cut").exit_code, 0);

  const Result seed = train(folder, kPpo, "cut", "--set experiment.seed=2");
  const Result sizes = train(folder, kPpo, "cut", "--set call.actor_gen.group_size=4");
  const Result rate = train(folder, kPpo, "cut", "--set model.actor.lr=1e-4");

  EXPECT_EQ(seed.exit_code, 2);
  EXPECT_NE(seed.output.find("experiment.seed: was 1, is 2"), std::string::npos) << seed.output;
  EXPECT_EQ(sizes.exit_code, 2);
  EXPECT_NE(sizes.output.find("call.actor_gen.group_size: was 2, is 4"), std::string::npos);
  EXPECT_EQ(rate.exit_code, 0) << rate.output;
  EXPECT_NE(rate.output.find("model.actor.lr: was"), std::string::npos) << rate.output;
}

TEST(ResumeRefuses, ADirectoryWithoutACheckpoint) {
  const TemporaryFolder folder;

  const Result result = train(folder, kPpo, "cut", "--resume " + folder.path().string());

  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.output.find("a folder without a checkpoint"), std::string::npos);
}

TEST(ResumeAfterDamage, UsesTheCheckpointBeforeAndSaysWhichFileIsWrong) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "whole").exit_code, 0);
  ASSERT_EQ(train(folder, kPpo, "cut").exit_code, 0);
  const fs::path newest = folder / "cut/checkpoints/step-00000010";
  const fs::path file = newest / "worker-0001.h5";
  std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
  std::mt19937 random(7);
  const auto at = static_cast<std::streamoff>(random() % fs::file_size(file));
  bytes.seekg(at);
  const char byte = static_cast<char>(bytes.get() ^ 0x10);
  bytes.seekp(at);
  bytes.put(byte);
  bytes.close();

  const Result result = train(folder, kPpo, "cut");

  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("worker-0001.h5: its bytes are not those"), std::string::npos)
      << result.output;
  EXPECT_NE(result.output.find("goes on after step 9"), std::string::npos) << result.output;
  EXPECT_TRUE(fs::exists(folder / "cut/checkpoints/step-00000010.damaged"));
  expect_same_run(folder);
}

TEST(ResumeAfterDamage, WithoutAWholeCheckpointEndsWith5AndTouchesNothing) {
  const TemporaryFolder folder;
  ASSERT_EQ(train(folder, kPpo, "cut").exit_code, 0);
  for (const auto& entry : fs::directory_iterator(folder / "cut/checkpoints")) {
    if (!entry.is_symlink()) fs::resize_file(entry.path() / "manifest.json", 40);
  }
  const auto before = records_of(folder / "cut");

  const Result result = train(folder, kPpo, "cut");

  EXPECT_EQ(result.exit_code, 5) << result.output;
  EXPECT_EQ(records_of(folder / "cut"), before);
}

TEST(RunLockInUse, ASecondJobIsRefused) {
  const TemporaryFolder folder;
  const Result both =
      run("export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PMIX_MCA_psec=native "
          "OMP_NUM_THREADS=1; (mpirun --oversubscribe -n 2 " +
          std::string(ORRERY_PROGRAM) + " " + tiny(folder, "--set experiment.total_steps=2000") +
          " >/dev/null 2>&1 & echo $! > " + (folder / "pid").string() + "); until [ -s " +
          (folder / "grpo_tiny/metrics.jsonl").string() + " ]; do sleep 0.1; done; " +
          "mpirun --oversubscribe -n 2 " + ORRERY_PROGRAM + " " + tiny(folder) + "; code=$?; " +
          "kill $(cat " + (folder / "pid").string() + "); exit $code");

  EXPECT_EQ(both.exit_code, 2) << both.output;
  EXPECT_NE(both.output.find("is in use"), std::string::npos) << both.output;
}

}  // namespace
}  // namespace orrery::integration
