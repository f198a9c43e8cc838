// [evaluate] and [evaluate.X]: which sets there are, what each takes over, and what is refused.
#include <gtest/gtest.h>

#include "config_folder.h"
#include "orrery/config/evaluate.h"

namespace orrery::config {
namespace {

/// Two more data sets and what the test says of evaluation.
std::string with(const std::string& evaluation) {
  Parts parts;
  parts.rest =
      "[dataset.math]\npath = train.jsonl\n[dataset.aime]\npath = train.jsonl\n" + evaluation;
  return parts.text();
}

/// What is read of it, without a mistake.
Experiment experiment(const std::string& evaluation) {
  const ConfigFolder folder;
  const LoadResult loaded = folder.load(with(evaluation));
  EXPECT_EQ(folder.messages(loaded.problems), Texts());
  return loaded.experiment;
}

TEST(EvaluationSets, TakeOverWhatTheyDoNotSay) {
  const Experiment e = experiment(
      "[evaluate]\nsets = math, aime\nsamples = 4\ntemperature = 0.7\n"
      "[evaluate.aime]\nsamples = 16\nk = 8, 1\nby = level\n");

  ASSERT_EQ(e.evaluation_sets.size(), 2u);
  const EvaluationSet& math = e.evaluation_sets[0];
  const EvaluationSet& aime = e.evaluation_sets[1];
  EXPECT_EQ(math.name, "math");
  EXPECT_EQ(math.options.dataset, "math");
  EXPECT_EQ(math.options.samples, 4);
  EXPECT_EQ(math.k_values(), (std::vector<int64_t>{1, 4}));
  EXPECT_EQ(math.metric_prefix(), "eval/math/");
  EXPECT_EQ(aime.options.dataset, "aime");
  EXPECT_EQ(aime.options.samples, 16);
  EXPECT_EQ(aime.options.temperature, 0.7);
  EXPECT_EQ(aime.k_values(), (std::vector<int64_t>{1, 8}));
}

TEST(EvaluationSets, AreOneWithoutANameWhereOnlyADatasetIsNamed) {
  const Experiment e = experiment("[evaluate]\ndataset = aime\n");

  ASSERT_EQ(e.evaluation_sets.size(), 1u);
  EXPECT_EQ(e.evaluation_sets[0].name, "");
  EXPECT_EQ(e.evaluation_sets[0].options.dataset, "aime");
  EXPECT_EQ(e.evaluation_sets[0].metric_prefix(), "eval/");
  EXPECT_TRUE(e.evaluation_sets[0].k_values().empty());
}

TEST(EvaluationSets, MayShareTheirData) {
  const Experiment e = experiment(
      "[evaluate]\nsets = greedy, drawn\ndataset = math\n"
      "[evaluate.drawn]\nsamples = 8\ntemperature = 1\n");

  ASSERT_EQ(e.evaluation_sets.size(), 2u);
  EXPECT_EQ(e.evaluation_sets[0].options.dataset, "math");
  EXPECT_EQ(e.evaluation_sets[1].options.dataset, "math");
}

TEST(EvaluationSets, AreTheSameWhenTheResolvedConfigurationIsRead) {
  const ConfigFolder folder;
  const Experiment e =
      folder
          .load(with("[evaluate]\nsets = math, aime\nsamples = 4\n"
                     "temperature = 0.7\n[evaluate.aime]\ndataset = math\nk = 2\n"))
          .experiment;
  const std::string text = resolved_config(e, some_interfaces());

  const LoadResult again = load_experiment_text(text, "config.cfg", some_interfaces());

  EXPECT_EQ(folder.messages(again.problems), Texts());
  ASSERT_EQ(again.experiment.evaluation_sets.size(), 2u);
  EXPECT_EQ(again.experiment.evaluation_sets[1].options.dataset, "math");
  EXPECT_EQ(again.experiment.evaluation_sets[1].options.samples, 4);
  EXPECT_EQ(again.experiment.evaluation_sets[1].options.k, "2");
  EXPECT_EQ(resolved_config(again.experiment, some_interfaces()), text);
}

struct Mistake {
  std::string text;
  std::string said;
};

TEST(EvaluationSets, MistakesAreNamedWithTheirPlace) {
  const std::string sets = "[evaluate]\nsets = math, aime\n";
  const Mistake mistakes[] = {
      {"[evaluate]\nsets = maht\n",
       "x.cfg:19: evaluate.sets: the set maht has no data: there is no [dataset.maht] and no "
       "evaluate.maht.dataset; did you mean math?"},
      {"[evaluate]\nsets = math, math\n", "x.cfg:19: evaluate.sets: math stands there twice"},
      {"[evaluate]\nsets = math,, aime\n",
       "x.cfg:19: evaluate.sets: must be names with one comma between two, got 'math,, aime'"},
      {sets + "[evaluate.amie]\n",
       "x.cfg:20: [evaluate.amie]: evaluate.sets does not name amie; did you mean aime?"},
      {sets + "[evaluate.aime]\nsample = 4\n",
       "x.cfg:21: unknown key evaluate.aime.sample; did you mean samples?"},
      {sets + "[evaluate.aime]\ndataset = amie\n",
       "x.cfg:21: evaluate.aime.dataset: there is no [dataset.amie]; did you mean aime?"},
      {sets + "[evaluate.aime]\nk = 1, 4\n",
       "x.cfg:21: evaluate.aime.k: 4 is more than samples (1): lower it, or raise samples"},
      {sets + "[evaluate.aime]\nk = 0\n",
       "x.cfg:21: evaluate.aime.k: must be integers from 1 on, such as 1, 8, got '0'"},
      {sets + "[evaluate.aime]\nsamples = 4\n",
       "x.cfg:21: evaluate.aime.samples: 4, but temperature is 0: all answers to a prompt would be "
       "the same; set temperature, or samples = 1"},
      {sets + "[evaluate.aime]\nsamples = 4\ntemperature = 1\nsubset = all_subsets\n",
       "x.cfg:23: evaluate.aime.subset: all_subsets has no first answer among those with equally "
       "many votes: set tie = fractional"},
      {sets + "keep_best = aime/pass@8\n",
       "x.cfg:20: evaluate.keep_best: an evaluation of aime has no metric 'pass@8' that can be "
       "better or worse; it has accuracy"},
      {sets + "keep_best = accuracy\n",
       "x.cfg:20: evaluate.keep_best: must be SET/METRIC with a set of evaluate.sets (math, aime), "
       "got 'accuracy'"},
      {sets + "stop_after = 3\n",
       "x.cfg:20: evaluate.stop_after: evaluate.keep_best is missing: which metric is to rise?"},
  };
  for (const Mistake& mistake : mistakes) {
    const Texts texts = ConfigFolder().problems(with(mistake.text));
    EXPECT_EQ(texts, Texts{mistake.said}) << mistake.text;
  }
}

TEST(EvaluationSets, MetricsThatAreThereCanBeKept) {
  const std::string sets =
      "[evaluate]\nsets = math, aime\nsamples = 4\ntemperature = 1\nby = level\n";
  for (const char* metric : {"math/accuracy", "aime/pass@4", "aime/maj@1", "math/level=3/avg@4"}) {
    EXPECT_EQ(ConfigFolder().problems(with(sets + "keep_best = " + metric + "\n")), Texts())
        << metric;
  }
  EXPECT_EQ(ConfigFolder().problems(with("[evaluate]\ndataset = math\nkeep_best = accuracy\n")),
            Texts());
}

TEST(EvaluationSets, ALossIsBetterWhenItFalls) {
  EvaluateConfig evaluate;
  evaluate.keep_best = "loss";
  EXPECT_TRUE(best_metric_in(evaluate)->falls());
  evaluate.keep_best = "accuracy";
  EXPECT_FALSE(best_metric_in(evaluate)->falls());
}

}  // namespace
}  // namespace orrery::config
