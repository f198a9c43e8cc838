#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "calls_for_test.h"
#include "orrery/graph/graph.h"

namespace orrery::graph {
namespace {

using config::CallConfig;
using config::Experiment;
using config::Problem;

CallConfig section(const std::string& model, const std::string& kind, std::string_view inputs,
                   std::string_view outputs) {
  CallConfig call;
  call.model = model;
  call.kind = kind;
  call.interface = "some_interface";
  call.inputs = bindings(inputs);
  call.outputs = bindings(outputs);
  call.n_seqs = 8;
  return call;
}

/// Generate, reward by rule, train: no mistakes on 4 workers.
Experiment grpo_experiment() {
  Experiment experiment;
  experiment.datasets = {{"problems", {}}};
  config::ModelConfig rule;
  rule.architecture = "none";
  experiment.models = {{"actor", {}}, {"rule", rule}};
  experiment.calls = {
      {"actor_gen",
       section("actor", "generate", "packed_prompts", "packed_input_ids, packed_logprobs")},
      {"rewards", section("rule", "inference", "packed_input_ids, answers", "rewards")},
      {"actor_train",
       section("actor", "train_step", "packed_input_ids, packed_logprobs, rewards", "")},
  };
  experiment.layout.default_layout = "d4";
  return experiment;
}

CallConfig& call_of(Experiment& experiment, const std::string& name) {
  for (auto& [key, call] : experiment.calls) {
    if (key == name) return call;
  }
  throw std::runtime_error("no call " + name);
}

std::vector<std::string> problem_texts(const Experiment& experiment, int n_workers = 4) {
  std::vector<Problem> problems;
  const Graph graph = build_graph(experiment, n_workers, problems);
  EXPECT_EQ(graph.size() == 0, !problems.empty());
  std::vector<std::string> texts;
  for (const Problem& problem : problems) texts.push_back(problem.text);
  return texts;
}

/// Exactly one problem, which has this start and this part.
void expect_one_problem(const Experiment& experiment, const std::string& start,
                        const std::string& part) {
  const std::vector<std::string> texts = problem_texts(experiment);
  ASSERT_EQ(texts.size(), 1u) << testing::PrintToString(texts);
  EXPECT_EQ(texts[0].rfind(start, 0), 0u) << texts[0];
  EXPECT_NE(texts[0].find(part), std::string::npos) << texts[0];
}

TEST(ExperimentGraph, ResolvesSectionsToCalls) {
  Experiment experiment = grpo_experiment();
  CallConfig& gen = call_of(experiment, "actor_gen");
  gen.layout = "t2@2-3";
  gen.max_tokens_per_micro_batch = 100;
  std::vector<Problem> problems;

  const Graph graph = build_graph(experiment, 4, problems);

  ASSERT_TRUE(problems.empty()) << problems[0].text;
  EXPECT_EQ(graph.call(0).layout.text(), "d1t2p1@2-3");
  EXPECT_EQ(graph.call(0).replica, 1);
  EXPECT_EQ(graph.call(0).max_tokens_per_micro_batch, 100);
  EXPECT_EQ(graph.call(1).layout.text(), "d4t1p1@0-3");
  EXPECT_FALSE(graph.call(1).has_parameters);
  EXPECT_EQ(graph.call(2).kind, CallKind::kTrainStep);
  EXPECT_EQ(graph.samples_per_step(), 8);
}

TEST(ExperimentGraph, UsesAllWorkersWhereNoLayoutIsWritten) {
  Experiment experiment = grpo_experiment();
  experiment.layout.default_layout.clear();
  std::vector<Problem> problems;

  EXPECT_EQ(build_graph(experiment, 3, problems).call(0).layout.text(), "d3t1p1@0-2");
}

TEST(ExperimentGraph, LeavesOutCallsThatAreNotEnabled) {
  Experiment experiment = grpo_experiment();
  experiment.calls.push_back({"ref_inf", section("nobody", "nothing", "x", "y")});
  experiment.calls.back().second.enabled = false;

  EXPECT_TRUE(problem_texts(experiment).empty());
}

TEST(ExperimentGraph, NamesAKeyThatNobodyGivesAndTheNearestOne) {
  Experiment experiment = grpo_experiment();
  call_of(experiment, "rewards").inputs = bindings("packed_input_ids, answer");

  expect_one_problem(experiment, "call.rewards.inputs",
                     "no call or dataset gives the key answer (did you mean answers?)");
}

TEST(ExperimentGraph, KnowsWhichKeysAKindOfDatasetGives) {
  Experiment experiment = grpo_experiment();
  experiment.datasets[0].second.kind = "completions";

  const std::vector<std::string> texts = problem_texts(experiment);

  // packed_prompts and answers are missing; packed_input_ids has two producers.
  EXPECT_EQ(texts.size(), 3u) << testing::PrintToString(texts);
}

TEST(ExperimentGraph, TakesOtherKindsOfDatasetsFromItsCaller) {
  Experiment experiment = grpo_experiment();
  experiment.datasets[0].second.kind = "pairs";
  std::vector<Problem> problems;

  const Graph graph =
      build_graph(experiment, 4, {{"pairs", {"packed_prompts", "answers"}}}, problems);

  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(graph.size(), 3);
  EXPECT_FALSE(problem_texts(experiment).empty());  // unknown among the standard kinds
}

/// As reading a configuration with one set leaves it.
void evaluate_on(Experiment& experiment, const std::string& dataset) {
  config::EvaluationSet set;
  set.options.dataset = dataset;
  experiment.evaluation_sets = {set};
}

TEST(ExperimentGraph, RefusesTrainingDatasetsOfDifferentKinds) {
  Experiment experiment = grpo_experiment();
  config::DatasetConfig texts;
  texts.kind = "completions";
  experiment.datasets.push_back({"texts", texts});
  evaluate_on(experiment, "texts");
  EXPECT_TRUE(problem_texts(experiment).empty());  // evaluation may use another kind

  experiment.evaluation_sets.clear();

  const std::vector<std::string> problems = problem_texts(experiment);
  ASSERT_FALSE(problems.empty());
  EXPECT_EQ(problems[0].rfind("dataset.texts.kind", 0), 0u) << problems[0];
}

TEST(TrainingDatasets, AreAllButTheOneForEvaluation) {
  Experiment experiment = grpo_experiment();
  evaluate_on(experiment, "problems");
  EXPECT_EQ(training_datasets(experiment), std::vector<std::string>{"problems"});  // the only one

  experiment.datasets.push_back({"held_out", {}});
  evaluate_on(experiment, "held_out");

  EXPECT_EQ(training_datasets(experiment), std::vector<std::string>{"problems"});
}

TEST(TrainingDatasets, AreThoseThatTheirUseSays) {
  Experiment experiment = grpo_experiment();
  config::DatasetConfig held_out;
  held_out.use = "evaluate";
  experiment.datasets.push_back({"held_out", held_out});
  EXPECT_EQ(training_datasets(experiment), std::vector<std::string>{"problems"});

  evaluate_on(experiment, "problems");
  EXPECT_TRUE(training_datasets(experiment).empty());

  experiment.datasets.front().second.use = "train";  // and evaluated on
  EXPECT_EQ(training_datasets(experiment), std::vector<std::string>{"problems"});
}

TEST(ExperimentGraph, NamesARoleWithoutASection) {
  Experiment experiment = grpo_experiment();
  call_of(experiment, "actor_gen").model = "actr";

  expect_one_problem(experiment, "call.actor_gen.model",
                     "no section [model.actr] (did you mean actor?)");
}

TEST(ExperimentGraph, NamesAnUnknownKind) {
  Experiment experiment = grpo_experiment();
  call_of(experiment, "rewards").kind = "inferense";

  expect_one_problem(experiment, "call.rewards.kind", "did you mean inference?");
}

TEST(ExperimentGraph, RefusesToTrainARoleWithoutParameters) {
  Experiment experiment = grpo_experiment();
  call_of(experiment, "actor_train").model = "rule";

  expect_one_problem(experiment, "call.actor_train.model", "no parameters that could be trained");
}

TEST(ExperimentGraph, NamesALayoutThatDoesNotFitTheWorkers) {
  Experiment experiment = grpo_experiment();
  call_of(experiment, "rewards").layout = "d1@4";

  expect_one_problem(experiment, "call.rewards.layout",
                     "needs worker 4, but there are 4 workers (0 to 3); start at least 6 ranks");
}

TEST(ExperimentGraph, NamesALayoutThatListsAWorkerTwice) {
  Experiment experiment = grpo_experiment();
  call_of(experiment, "rewards").layout = "d2@1,1";

  expect_one_problem(experiment, "call.rewards.layout", "lists worker 1 twice");
}

TEST(ExperimentGraph, ReportsABadDefaultLayoutOnce) {
  Experiment experiment = grpo_experiment();
  experiment.layout.default_layout = "d5";
  expect_one_problem(experiment, "layout.default", "needs worker 4");

  experiment.layout.default_layout = "banana";
  expect_one_problem(experiment, "layout.default", "'b' where d, t or p is expected");
}

TEST(ExperimentGraph, ChecksWhereParametersGoAfterTraining) {
  Experiment experiment = grpo_experiment();
  CallConfig& train = call_of(experiment, "actor_train");
  const std::string key = "call.actor_train.post_realloc";

  train.post_realloc = "ref";
  expect_one_problem(experiment, key, "no enabled call uses the role ref");
  train.post_realloc = "actor";
  expect_one_problem(experiment, key, "leads to its own role");
  train.post_realloc = "rule";
  expect_one_problem(experiment, key, "role rule has no parameters");

  experiment.models.push_back({"ref", {}});
  experiment.calls.push_back({"ref_inf", section("ref", "inference", "packed_input_ids", "r")});
  call_of(experiment, "actor_train").post_realloc = "ref";
  EXPECT_TRUE(problem_texts(experiment).empty());
  call_of(experiment, "actor_train").ema_decay = 1.5;
  expect_one_problem(experiment, "call.actor_train.ema_decay", "from 0 to 1, got 1.5");
  call_of(experiment, "actor_train").ema_decay = 0.5;
  call_of(experiment, "ref_inf").post_realloc = "actor";
  EXPECT_EQ(problem_texts(experiment).size(), 2u);  // no train_step, and the actor is trained
}

TEST(ExperimentGraph, ReportsMistakesOfConfigurationAndGraphTogether) {
  Experiment experiment = grpo_experiment();
  call_of(experiment, "actor_gen").layout = "x";
  call_of(experiment, "rewards").n_seqs = 3;                         // 8 is no multiple; < 4 ranks
  call_of(experiment, "actor_train").outputs = bindings("rewards");  // twice; and a cycle of one

  EXPECT_GE(problem_texts(experiment).size(), 4u);
}

constexpr const char* kConfiguration = R"([experiment]
total_steps = 1
[dataset.problems]
path = .
[model.actor]
[call.actor_gen]
model = actor
kind = generate
interface = some_interface
inputs = packed_prompt
outputs = packed_input_ids
n_seqs = 3
layout = d1@9
[call.actor_train]
model = actor
kind = train_step
interface = some_interface
inputs = packed_input_ids
n_seqs = 4
)";

TEST(ExperimentGraph, NamesFileAndLineOfEveryMistake) {
  config::LoadResult loaded =
      config::load_experiment_text(kConfiguration, "grpo.cfg", {{"some_interface", {}}});
  ASSERT_TRUE(loaded.problems.empty()) << loaded.problems[0].message();

  build_graph(loaded.experiment, 2, loaded.problems);

  std::vector<std::string> places;
  for (const Problem& problem : loaded.problems) {
    places.push_back(problem.file + ":" + std::to_string(problem.line));
  }
  EXPECT_EQ(places, (std::vector<std::string>{"grpo.cfg:13",     // layout needs worker 9
                                              "grpo.cfg:10",     // nearly packed_prompts
                                              "grpo.cfg:12"}));  // 4 is no multiple of 3
}

TEST(ExperimentGraph, DoesNotRepeatWhatTheReaderOfTheFileHasFound) {
  const std::string text =
      "[call.a]\nmodel = nobody\nkind = generate\ninterface = "
      "some_interface\ninputs = packed_prompts\n[dataset.d]\npath = .\n"
      "[experiment]\ntotal_steps = 1\n";
  config::LoadResult loaded =
      config::load_experiment_text(text, "bad.cfg", {{"some_interface", {}}});
  const size_t n_found = loaded.problems.size();
  ASSERT_EQ(n_found, 2u);  // no [model.nobody], no n_seqs

  const Graph graph = build_graph(loaded.experiment, 2, loaded.problems);

  EXPECT_EQ(loaded.problems.size(), n_found) << loaded.problems.back().message();
  EXPECT_EQ(graph.size(), 0);
}

TEST(ExperimentGraph, RefusesAnExperimentWithoutCallsOrWorkers) {
  Experiment experiment = grpo_experiment();
  EXPECT_EQ(problem_texts(experiment, 0).size(), 1u);
  experiment.calls.clear();

  EXPECT_EQ(problem_texts(experiment).size(), 1u);
}

}  // namespace
}  // namespace orrery::graph
