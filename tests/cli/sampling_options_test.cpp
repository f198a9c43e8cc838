// What a user is told about dynamic sampling before a run, and what of it a checkpoint keeps.
#include "sampling_options.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/temporary_folder.h"
#include "inspect.h"
#include "master_file.h"
#include "orrery/base/text.h"
#include "orrery/checkpoint/directory.h"
#include "orrery/checkpoint/manifest.h"

namespace orrery::cli {
namespace {

using Texts = std::vector<std::string>;

Job tiny(Texts sets) {
  sets.emplace_back("dynamic_sampling.enabled=true");
  return prepare_job(ORRERY_SOURCE_DIR "/configs/grpo_tiny.cfg", sets, 2, DataCheck::kRead);
}

/// What is wrong with these keys, or "".
std::string problem_of(const Texts& sets) {
  try {
    tiny(sets);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return {};
}

void expect_problem(const Texts& sets, const std::string& part) {
  const std::string problem = problem_of(sets);
  EXPECT_NE(problem.find(part), std::string::npos) << part << "\nis not in\n" << problem;
}

/// Some warning of these keys says `part`.
void expect_warning(const Texts& sets, const std::string& part) {
  std::string all;
  for (const config::Problem& warning : tiny(sets).warnings) all += warning.text + "\n";
  EXPECT_NE(all.find(part), std::string::npos) << part << "\nis not in\n" << all;
}

TEST(DynamicSamplingOptions, AreTakenFromTheConfiguration) {
  const std::optional<master::RefillOptions> options =
      refill_options(tiny({"dynamic_sampling.max_rounds=3", "dynamic_sampling.on_limit=use_partial",
                           "dynamic_sampling.surplus=discard", "dynamic_sampling.high=0.9"}));

  ASSERT_TRUE(options);
  EXPECT_EQ(options->rule.batch_groups, options->rule.groups_per_round);
  EXPECT_EQ(options->rule.max_rounds, 3);
  EXPECT_EQ(options->rule.on_limit, master::OnLimit::kUsePartial);
  EXPECT_EQ(options->rule.surplus, master::Surplus::kDiscard);
  EXPECT_EQ(options->rule.accept.high, 0.9);
}

TEST(DynamicSamplingOptions, JudgeByAKeyOfRewardsAlone) {
  expect_problem({"dynamic_sampling.rewards=packed_logprobs"}, "is no reward of answers");
}

TEST(DynamicSamplingOptions, AreNoneUnlessEnabled) {
  const Job job = prepare_job(ORRERY_SOURCE_DIR "/configs/grpo_tiny.cfg",
                              {"dynamic_sampling.high=0.9"}, 2, DataCheck::kLeaveOut);

  EXPECT_FALSE(refill_options(job));
  const bool is_said =
      std::any_of(job.warnings.begin(), job.warnings.end(), [](const config::Problem& warning) {
        return warning.text.find("dynamic_sampling.high: has no effect") != std::string::npos;
      });
  EXPECT_TRUE(is_said);
}

TEST(DynamicSamplingOptions, OutOfRangeOrAgainstOneAnotherAreNamedBeforeTheRun) {
  expect_problem({"dynamic_sampling.low=1.5"}, "dynamic_sampling.low: must be -1 to 1");
  expect_problem({"dynamic_sampling.low=0.5", "dynamic_sampling.high=0.5"},
                 "dynamic_sampling.low: is 0.5, not below high");
  expect_problem({"dynamic_sampling.accept=spread"}, "dynamic_sampling.accept: must be one of");
  expect_problem({"dynamic_sampling.max_pass_rate=0.5"}, "without filter_after_answers");
  expect_problem({"dynamic_sampling.filter_after_answers=4", "dynamic_sampling.min_pass_rate=0.6",
                  "dynamic_sampling.max_pass_rate=0.5"},
                 "dynamic_sampling.min_pass_rate: is 0.6, above max_pass_rate");
  expect_problem({"dynamic_sampling.filter_after_answers=4", "dynamic_sampling.easy_first_steps=9",
                  "dynamic_sampling.min_pass_rate=0.6"},
                 "dynamic_sampling.easy_first_from: is 0.5, outside");
  expect_problem({"dynamic_sampling.max_round=3"}, "did you mean max_rounds?");
}

TEST(DynamicSamplingOptions, ThatFitNoGraphOrRewardAreNamedBeforeTheRun) {
  expect_problem({"dynamic_sampling.rewards=prizes"},
                 "dynamic_sampling.rewards: no call writes the key prizes");
  expect_problem({"dynamic_sampling.groups_per_round=3"},
                 "is no multiple of call.actor_gen.n_seqs");
  expect_problem({"call.actor_gen.group_size=1"}, "no group would ever be accepted");
  expect_problem({"call.actor_gen.greedy=true"}, "all answers of a group are the same");
  expect_problem({"dynamic_sampling.correct_above=1"}, "dynamic_sampling.correct_above: is 1, but");
  expect_problem({"call.actor_train.n_seqs=4", "dynamic_sampling.on_limit=use_partial"},
                 "use_partial needs calls that take a whole step at once");
  expect_problem({"dynamic_sampling.groups_per_round=4096"}, "is smaller than a step");
  expect_problem(
      {"experiment.total_steps=0", "experiment.total_epochs=2", "model.actor.lr_schedule=linear"},
      "model.actor.lr_schedule: needs experiment.total_steps");
}

TEST(DynamicSamplingOptions, ThatCouldNeverFillAStepAreNamedBeforeTheRun) {
  expect_problem(
      {"dynamic_sampling.accept=reward_spread", "dynamic_sampling.min_spread=2"},
      "dynamic_sampling.min_spread: is 2, but rewards are 0 (call.reward.wrong = 0) to 1");
  EXPECT_EQ(problem_of({"dynamic_sampling.accept=reward_spread", "dynamic_sampling.min_spread=2",
                        "call.reward.correct=2.5"}),
            "");
  const Texts small_rounds = {"dynamic_sampling.groups_per_round=4", "call.actor_gen.n_seqs=4",
                              "call.reward.n_seqs=4"};
  const auto with = [&](Texts sets) {
    sets.insert(sets.end(), small_rounds.begin(), small_rounds.end());
    return sets;
  };
  expect_problem(with({"dynamic_sampling.max_rounds=1"}),
                 "dynamic_sampling.max_rounds: x groups_per_round, 1 x 4, is less than the 8 "
                 "groups of a step: "
                 "no step could ever be filled; write max_rounds = 2 or more");
  EXPECT_EQ(problem_of(with({"dynamic_sampling.max_rounds=2"})), "");
  EXPECT_EQ(problem_of(with({"dynamic_sampling.max_rounds=0"})), "");
  expect_warning(with({"dynamic_sampling.max_rounds=1", "dynamic_sampling.on_limit=use_partial"}),
                 "1 x 4, is less than the 8 groups of a step: it is filled in part only");
}

TEST(DynamicSamplingOptions, NameAGroupSizeThatHelps) {
  expect_problem({"call.actor_gen.group_size=2", "dynamic_sampling.low=0.5"},
                 "write group_size = 3, lower low or raise high");
  expect_problem({"call.actor_gen.group_size=1", "dynamic_sampling.accept=reward_spread"},
                 "write group_size = 2 or more");
  expect_problem({"dynamic_sampling.low=0.999", "dynamic_sampling.high=0.9991"},
                 "would ever be accepted; lower low or raise high");
}

TEST(DynamicSamplingOptions, OfTheOtherRuleOrWithoutTheirOwnAreNamed) {
  expect_warning({"dynamic_sampling.accept=reward_spread", "dynamic_sampling.low=0.1"},
                 "dynamic_sampling.low: has no effect without accept = accuracy");
  expect_warning({"dynamic_sampling.accept=reward_spread", "dynamic_sampling.high=0.9"},
                 "dynamic_sampling.high: has no effect without accept = accuracy");
  expect_warning({"dynamic_sampling.min_spread=1"},
                 "dynamic_sampling.min_spread: has no effect without accept = reward_spread");
  expect_problem({"dynamic_sampling.retry_after=2"},
                 "dynamic_sampling.retry_after: has no effect without filter_after_answers");
  expect_problem(
      {"dynamic_sampling.easy_first_from=0.7", "dynamic_sampling.filter_after_answers=4"},
      "dynamic_sampling.easy_first_from: has no effect without easy_first_steps");
  expect_problem({"dynamic_sampling.easy_first_from=0.7"}, "dynamic_sampling.easy_first_from: ");
  expect_warning({"dynamic_sampling.filter_after_answers=4"},
                 "dynamic_sampling.filter_after_answers: passes over no prompt");
}

TEST(DynamicSamplingPlan, CountsPagesAndOperationsForTheMostRounds) {
  const std::string text = sampling_plan_text(tiny({"dynamic_sampling.max_rounds=3"}));

  for (const char* part : {"for every round of", "up to 3 rounds", "one round: 1 run of actor_gen",
                           "3 rounds: 3 runs of actor_gen", "of keys and values"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\nis not in\n" << text;
  }
}

master::RefillState some_state() {
  master::RefillState state;
  data::RowRef prompt{.dataset = 0, .row = 7, .epoch = 1, .id = {42}};
  data::KeyMetadata key{
      .key = "packed_input_ids", .dtype = data::DType::kI32, .trailing_shape = {}, .lengths = {}};
  const std::vector<int32_t> lengths = {3, 5};
  key.lengths.add_sample(lengths);
  state.carried.push_back({.prompt = prompt, .keys = {key}, .extra = {{"dataset", "\"train\""}}});
  state.upcoming = {.rows = {prompt, prompt}, .draws = 3};
  state.prompts.note(prompt, std::vector<double>{1, 0, 1, 1}, 0, true);
  state.epoch = 1;
  state.first_step_of_epoch = 5;
  return state;
}

/// A checkpoint that is the master's file alone.
void write_checkpoint(const std::filesystem::path& directory, const master::MasterState& state) {
  const std::filesystem::path partial = checkpoint::partial_directory(directory);
  std::filesystem::create_directories(partial);
  checkpoint::Manifest manifest{.step = 1, .program = "test", .config_hash = "none"};
  manifest.files.push_back(
      write_master_file(partial, {.state = state, .resolved_config = "[experiment]\n"}));
  checkpoint::publish(directory, manifest, 2);
}

TEST(DynamicSamplingCheckpoint, GivesBackWhatItWasGiven) {
  const TemporaryFolder folder;
  master::MasterState state;
  state.order.cursors = {{.epoch = 1, .position = 8, .n_rows = 9, .fingerprint = 3}};
  state.refill = some_state();
  write_checkpoint(folder / "step-00000001", state);

  checkpoint::CheckpointReader reader(folder / "step-00000001");
  const master::MasterState read = read_master_file(reader).state;

  ASSERT_TRUE(read.refill);
  EXPECT_EQ(read.order, state.order);
  EXPECT_EQ(read.refill->carried.at(0).prompt, state.refill->carried[0].prompt);
  EXPECT_EQ(read.refill->carried[0].keys, state.refill->carried[0].keys);
  EXPECT_EQ(read.refill->carried[0].extra, state.refill->carried[0].extra);
  EXPECT_EQ(read.refill->upcoming.rows, state.refill->upcoming.rows);
  EXPECT_EQ(read.refill->upcoming.draws, 3);
  EXPECT_EQ(read.refill->prompts, state.refill->prompts);
  EXPECT_EQ(read.refill->first_step_of_epoch, 5);
  const std::string shown = contents_text(folder / "step-00000001");
  EXPECT_NE(shown.find("1 group carried over"), std::string::npos) << shown;
  EXPECT_NE(shown.find("pass rate 0.7 to 0.8: 1 prompt"), std::string::npos) << shown;
}

TEST(DynamicSamplingCheckpoint, OfARunWithoutItHasNothingOfIt) {
  const TemporaryFolder folder;
  write_checkpoint(folder / "step-00000001", {});

  checkpoint::CheckpointReader reader(folder / "step-00000001");

  EXPECT_FALSE(read_master_file(reader).state.refill);
}

}  // namespace
}  // namespace orrery::cli
