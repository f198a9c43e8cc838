// Learning from preferences and from a teacher, in whole runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "integration/runs_for_test.h"

namespace orrery::integration {
namespace {

namespace fs = std::filesystem;

/// Arguments of a run of configs/NAME.cfg into `folder`.
std::string shipped(const std::string& name, const TemporaryFolder& folder,
                    const std::string& more = "") {
  return "train " + source("configs/" + name + ".cfg") +
         " --set experiment.output_dir=" + folder.path().string() + " --set export.at_end=false " +
         more;
}

double mean_of_last(const std::vector<double>& values, size_t n) {
  double sum = 0;
  for (size_t i = values.size() - n; i < values.size(); ++i) sum += values[i];
  return sum / static_cast<double>(n);
}

TEST(Preferences, KtoPrefersGoodAnswersMoreAndMore) {
  const TemporaryFolder folder;

  const Result result = orrery(3, shipped("kto_tiny", folder));

  ASSERT_EQ(result.exit_code, 0) << result.output;
  const std::vector<double> losses = values_of(folder / "kto_tiny", "kto/loss");
  EXPECT_NEAR(losses.front(), 0.5, 1e-4) << "actor and reference are one at first";
  EXPECT_LT(mean_of_last(losses, 5), 0.47);
  EXPECT_GT(mean_of_last(values_of(folder / "kto_tiny", "kto/accuracy"), 5), 0.6);
}

TEST(Preferences, WithoutAReferenceAreLearnedWithoutItsModel) {
  for (const char* name : {"simpo_tiny", "orpo_tiny"}) {
    const TemporaryFolder folder;

    const Result result = orrery(3, shipped(name, folder));

    ASSERT_EQ(result.exit_code, 0) << result.output;
    const std::vector<double> losses = values_of(folder / name, "preferences/loss");
    EXPECT_LT(mean_of_last(losses, 5), losses.front()) << name;
    const std::vector<double> accuracy = values_of(folder / name, "eval/preference_accuracy");
    EXPECT_GT(accuracy.back(), accuracy.front()) << name;
  }
}

TEST(Preferences, GiveTheSameNumbersInEveryLayout) {
  const std::string common =
      "--set experiment.total_steps=4 --set evaluate.every_steps=0 --set model.actor.dtype=fp64 ";
  const struct {
    const char* name;
    const char* metric;
    const char* more;
  } runs[] = {{"kto_tiny", "kto/loss", "--set model.ref.dtype=fp64"},
              {"orpo_tiny", "preferences/loss", ""}};
  for (const auto& run : runs) {
    std::vector<std::vector<double>> losses;
    for (const char* layout : {"d1t1p1@0", "d2t1p1@0-1", "d1t1p2@0-1"}) {
      const TemporaryFolder folder;
      const Result result = orrery(
          3, shipped(run.name, folder, common + run.more + " --set layout.default=" + layout));
      ASSERT_EQ(result.exit_code, 0) << result.output;
      losses.push_back(values_of(folder / run.name, run.metric));
      ASSERT_EQ(losses.back().size(), 4u);
    }
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(losses[1][i], losses[0][i], 1e-9) << run.name;
      EXPECT_NEAR(losses[2][i], losses[0][i], 1e-9) << run.name;
    }
  }
}

TEST(Distillation, OnTheStudentsOwnAnswersComesCloserToTheTeacher) {
  const TemporaryFolder folder;

  const Result result = orrery(3, shipped("distill_tiny", folder));

  ASSERT_EQ(result.exit_code, 0) << result.output;
  const std::vector<double> kl = values_of(folder / "distill_tiny", "distill/reverse_kl");
  EXPECT_LT(mean_of_last(kl, 5), 0.7 * kl.front());
}

/// A small run of configs/graphs/distill_full.cfg whose teacher is wider than the student.
std::string distill_full(const TemporaryFolder& folder) {
  const std::string sizes =
      "n_layers = 2\nhidden_size = 32\nintermediate_size = 64\nn_heads = 2\nn_kv_heads = 2\n"
      "max_positions = 64\ndtype = fp64\n";
  std::ofstream(folder / "full.cfg")
      << "include = " << source("configs/graphs/distill_full.cfg")
      << "\n[experiment]\nname = full\n"
      << "total_steps = 6\noutput_dir = " << folder.path().string()
      << "\n[dataset.train]\npath = " << source("configs/data/addition_train.jsonl")
      << "\nkind = completions\n[model.actor]\n"
      << sizes << "lr = 1e-2\n[model.teacher]\n"
      << "n_layers = 1\nhidden_size = 64\nintermediate_size = 64\nn_heads = 2\nn_kv_heads = 2\n"
      << "max_positions = 64\ndtype = fp64\n";
  return "train " + (folder / "full.cfg").string() + " --set export.at_end=false ";
}

TEST(Distillation, OfWholeDistributionsGivesTheSameNumbersInEveryLayout) {
  std::vector<std::vector<double>> losses;
  for (const char* layout : {"d1t1p1@0", "d2t1p1@0-1", "d1t2p1@0-1"}) {
    const TemporaryFolder folder;
    const Result result = orrery(3, distill_full(folder) + "--set layout.default=" + layout);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    losses.push_back(values_of(folder / "full", "distill/loss"));
    ASSERT_EQ(losses.back().size(), 6u);
  }
  EXPECT_LT(losses[0].back(), losses[0].front());
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_NEAR(losses[1][i], losses[0][i], 1e-9);
    EXPECT_NEAR(losses[2][i], losses[0][i], 1e-9);
  }
}

TEST(Distillation, BetweenVocabulariesOrLayoutsIsRefusedBeforeTheRun) {
  const struct {
    const char* sets;
    const char* expected;
  } cases[] = {
      {"--set model.teacher.vocab_size=300", "their distributions cannot be compared"},
      {"--set call.teacher_inf.layout=d1t1p1@0 --set call.distill.layout=d1t1p1@1",
       "give both one layout"},
      {"--set call.distill.divergence=jsd --set call.distill.beta=1", "write a number between"}};
  for (const auto& each : cases) {
    const TemporaryFolder folder;
    const Result result = orrery(3, distill_full(folder) + each.sets);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_NE(result.output.find(each.expected), std::string::npos) << result.output;
  }
}

TEST(Preferences, OfTheWrongKindOfDataAreRefusedBeforeTheRun) {
  const TemporaryFolder folder;
  const Result result =
      orrery(3, shipped("kto_tiny", folder,
                        "--set dataset.train.path=" + source("configs/data/preferences.jsonl") +
                            " --set dataset.train.kind=preferences --set dataset.train.use=train"));
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find("no call or dataset gives the key desirable, which datasets of "
                               "kind labelled have"),
            std::string::npos)
      << result.output;
}

}  // namespace
}  // namespace orrery::integration
