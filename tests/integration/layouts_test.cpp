// The same experiment in different layouts of its calls gives the same numbers: parameters move
// between the workers of the calls by themselves. In fp64, where only the order of sums differs.
#include <gtest/gtest.h>

#include "integration/runs_for_test.h"
#include "orrery/base/file.h"

namespace orrery::integration {
namespace {

/// A call's own `layout` option for --set.
std::string layout(const std::string& call, const std::string& text) {
  return " --set call." + call + ".layout=" + text;
}

struct Example {
  const char* name;
  int n_workers;
  std::string sets;
};

class Layouts : public testing::Test {
 protected:
  /// Runs it and gives what the training of each step said.
  std::vector<double> numbers(const Example& example) {
    const Result result =
        orrery(1 + example.n_workers,
               tiny(folder_, std::string("--set model.actor.dtype=fp64 --set experiment.name=") +
                                 example.name + " --set export.at_end=false " + judged(folder_) +
                                 example.sets));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    std::vector<double> all;
    for (const char* metric : {"actor_train/loss", "actor_train/grad_norm", "actor_train/new_logp",
                               "actor_train/seq_len", "eval/accuracy"}) {
      for (const double value : values_of(folder_ / example.name, metric)) all.push_back(value);
    }
    return all;
  }

  TemporaryFolder folder_;
};

TEST_F(Layouts, OfEachCallGiveTheNumbersOfOneWorker) {
  const std::vector<double> expected =
      numbers({.name = "one", .n_workers = 1, .sets = " --set layout.default=d1t1p1@0"});
  ASSERT_GT(expected.size(), 12u);
  const Example examples[] = {
      {"tensor_train", 2, layout("actor_gen", "d2t1p1@0-1") + layout("actor_train", "d1t2p1@0-1")},
      {"pipeline_generation", 2,
       layout("actor_gen", "d1t1p2@0-1") + layout("actor_train", "d2t1p1@0-1")},
      {"disjoint", 3,
       layout("actor_gen", "d2t1p1@1-2") + layout("actor_train", "d1t1p1@0") +
           layout("reward", "d1t1p1@0")},
  };
  for (const Example& example : examples) {
    SCOPED_TRACE(example.name);

    const std::vector<double> got = numbers(example);

    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-9) << i;
  }
}

TEST_F(Layouts, GiveTheSameWeightsHoweverManyLayersAreRecomputed) {
  const auto weights = [&](const std::string& recompute) {
    const std::string name = "recompute_" + recompute;
    const Result result = orrery(
        3, tiny(folder_, judged(folder_) + " --set experiment.name=" + name +
                             " --set model.actor.n_layers=4 --set layout.default=d1t1p2@0-1" +
                             " --set model.actor.recompute_layers=" + recompute));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_GT(last_value(folder_ / name, "actor_train/grad_norm"), 0);
    return base::read_file(folder_ / name / "models/latest/actor/model.safetensors");
  };

  const std::string kept = weights("0");
  EXPECT_FALSE(kept.empty());
  EXPECT_TRUE(weights("1") == kept);
  EXPECT_TRUE(weights("all") == kept);
}

TEST_F(Layouts, MoveBf16ParametersAndExportThem) {
  const std::string sets = " --set model.actor.dtype=bf16 --set model.actor.recompute_layers=1";

  const Result result =
      orrery(3, tiny(folder_, judged(folder_) + sets + layout("actor_gen", "d2t1p1@0-1") +
                                  layout("actor_train", "d1t2p1@0-1")));

  ASSERT_EQ(result.exit_code, 0) << result.output;
  const auto model = folder_ / "grpo_tiny/models/latest/actor";
  EXPECT_EQ(nlohmann::json::parse(std::ifstream(model / "config.json"))["torch_dtype"], "bfloat16");
  // 35168 parameters of two bytes, and a header.
  EXPECT_LT(std::filesystem::file_size(model / "model.safetensors"), 35168u * 3);
  EXPECT_GT(last_value(folder_ / "grpo_tiny", "actor_train/grad_norm"), 0);

  const Result again = orrery(2, tiny(folder_, "--set experiment.name=again" + sets +
                                                   " --set layout.default=d1t1p1@0 --set "
                                                   "model.actor.path=" +
                                                   model.string()));
  EXPECT_EQ(again.exit_code, 0) << again.output;
}

}  // namespace
}  // namespace orrery::integration
