#include "orrery/graph/graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "calls_for_test.h"
#include "orrery/base/error.h"

namespace orrery::graph {
namespace {

using Indices = std::vector<int>;
using Keys = std::vector<std::string>;

TEST(Graph, JoinsCallsByKeys) {
  const Graph graph = build_graph(grpo_calls());

  ASSERT_EQ(graph.edges().size(), 5u);
  EXPECT_EQ(graph.edges()[2].producer, 0);
  EXPECT_EQ(graph.edges()[2].consumer, 3);
  EXPECT_EQ(graph.edges()[2].keys, (Keys{"ids", "logp"}));
  EXPECT_EQ(graph.parents(3), (Indices{0, 1, 2}));
  EXPECT_EQ(graph.children(0), (Indices{1, 2, 3}));
  EXPECT_EQ(graph.dataset_keys(), (Keys{"prompts", "answers"}));
}

TEST(Graph, JoinsByGraphKeysWhereTheInterfaceUsesOtherNames) {
  std::vector<Call> calls = {
      make_call({.name = "a", .role = "r", .inputs = "x"}),
      make_call({.name = "b", .role = "s", .inputs = ""}),
  };
  calls[0].outputs = {{"logprobs", "ref_logp"}};
  calls[1].inputs = {{"old", "ref_logp"}};

  const Graph graph = build_graph(calls);

  EXPECT_EQ(graph.edges()[0].keys, (Keys{"ref_logp"}));
  EXPECT_EQ(graph.producer("logprobs"), -1);
}

TEST(Graph, KnowsLevelsSourcesAndSinks) {
  const Graph graph = build_graph(grpo_calls());

  EXPECT_EQ(graph.levels(), (std::vector<Indices>{{0}, {1, 2}, {3}}));
  EXPECT_EQ(graph.sources(), (Indices{0}));
  EXPECT_EQ(graph.max_concurrent_calls(), 2);
}

TEST(Graph, FindsTheLargestSetOfCallsThatCanRunTogetherAcrossLevels) {
  // a -> b -> c beside x -> y: the widest level has 2 calls, as has the largest antichain; with
  // z beside them it is 3 although no level holds three of b, y, z alone.
  const Graph graph = build_graph({
      make_call({.name = "a", .role = "1", .inputs = "d", .outputs = "a"}),
      make_call({.name = "b", .role = "2", .inputs = "a", .outputs = "b"}),
      make_call({.name = "c", .role = "3", .inputs = "b", .outputs = "c"}),
      make_call({.name = "x", .role = "4", .inputs = "b", .outputs = "x"}),
      make_call({.name = "z", .role = "5", .inputs = "d", .outputs = "z"}),
  });

  EXPECT_EQ(graph.max_concurrent_calls(), 3);  // c, x, z; levels: {a, z}, {b}, {c, x}
}

TEST(Graph, CountsRunsPerStepFromTheLargestBatch) {
  std::vector<Call> calls = grpo_calls();
  calls[0].n_seqs = 2;
  calls[3].n_seqs = 8;

  const Graph graph = build_graph(calls);

  EXPECT_EQ(graph.samples_per_step(), 8);
  EXPECT_EQ(graph.calls_per_step(0), 4);
  EXPECT_EQ(graph.calls_per_step(1), 2);
  EXPECT_EQ(graph.calls_per_step(3), 1);
}

TEST(Graph, NumbersReplicasFromTheTrainedLayout) {
  const Graph graph = build_graph(grpo_calls("d2@0-1", "t2@0-1"));

  EXPECT_EQ(graph.call(0).replica, 1);
  EXPECT_EQ(graph.call(3).replica, 0);
  EXPECT_EQ(graph.call(1).replica, 0);
}

/// The problems of `calls` at `key`, joined.
std::string problems_at(const std::vector<Call>& calls, const std::string& key) {
  std::string text;
  for (const GraphProblem& problem : check_calls(calls)) {
    if (problem.key == key) text += problem.text + "\n";
  }
  return text;
}

#define EXPECT_PROBLEM(calls, key, part)                                                       \
  EXPECT_NE(problems_at(calls, key).find(part), std::string::npos) << problems_at(calls, key); \
  EXPECT_THROW(build_graph(calls), ConfigError)

TEST(CheckCalls, AcceptsAGoodGraph) { EXPECT_TRUE(check_calls(grpo_calls()).empty()); }

TEST(CheckCalls, NamesACallThatAppearsTwice) {
  std::vector<Call> calls = grpo_calls();
  calls[1].name = "actor_gen";

  EXPECT_PROBLEM(calls, "call.actor_gen", "two calls have the name actor_gen");
}

TEST(CheckCalls, NamesAKeyThatTwoCallsProduce) {
  std::vector<Call> calls = grpo_calls();
  calls[2].outputs = bindings("ref_logp, rewards");

  EXPECT_PROBLEM(calls, "call.ref_inf.outputs", "produced twice, by rewards and by ref_inf");
}

TEST(CheckCalls, NamesAKeyThatIsListedTwice) {
  std::vector<Call> calls = grpo_calls();
  calls[1].inputs = bindings("ids, ids");
  calls[1].outputs = bindings("rewards, rewards");

  EXPECT_PROBLEM(calls, "call.rewards.inputs", "ids is listed twice");
  EXPECT_PROBLEM(calls, "call.rewards.outputs", "rewards is listed twice");
}

TEST(CheckCalls, NamesACallThatReadsNothing) {
  std::vector<Call> calls = grpo_calls();
  calls[0].inputs.clear();

  EXPECT_PROBLEM(calls, "call.actor_gen.inputs", "reads no key");
}

TEST(CheckCalls, ShowsTheCallsOfACycle) {
  std::vector<Call> calls = grpo_calls();
  calls[0].inputs = bindings("prompts, ref_logp");

  EXPECT_PROBLEM(calls, "call.actor_gen.inputs", "actor_gen -> ref_inf -> actor_gen");
}

TEST(CheckCalls, TakesACallThatFeedsItselfForACycle) {
  std::vector<Call> calls = grpo_calls();
  calls[2].inputs = bindings("ids, ref_logp");

  EXPECT_PROBLEM(calls, "call.ref_inf.inputs", "ref_inf -> ref_inf");
}

TEST(CheckCalls, RefusesATrainStepThatIsNoSink) {
  std::vector<Call> calls = grpo_calls();
  calls[1].kind = CallKind::kTrainStep;

  EXPECT_PROBLEM(calls, "call.rewards.outputs", "actor_train reads what it writes");
}

TEST(CheckCalls, RefusesTwoTrainStepsOfOneRole) {
  std::vector<Call> calls = grpo_calls();
  calls.push_back(
      make_call({.name = "again", .kind = CallKind::kTrainStep, .role = "actor", .inputs = "ids"}));

  EXPECT_PROBLEM(calls, "call.again.kind", "two train_steps, actor_train and again");
}

TEST(CheckCalls, RefusesSamplesThatDoNotDivideTheStep) {
  std::vector<Call> calls = grpo_calls();
  calls[1].n_seqs = 3;

  EXPECT_PROBLEM(calls, "call.rewards.n_seqs", "4 samples (n_seqs of actor_gen), which is no");
}

TEST(CheckCalls, RefusesACallWithoutSamples) {
  std::vector<Call> calls = grpo_calls();
  calls[1].n_seqs = 0;

  EXPECT_PROBLEM(calls, "call.rewards.n_seqs", "at least 1, got 0");
}

TEST(CheckCalls, RefusesFewerSamplesThanDataRanks) {
  const std::vector<Call> calls = grpo_calls("d8");

  EXPECT_PROBLEM(calls, "call.actor_gen.n_seqs", "4 samples are fewer than the 8 data ranks");
}

TEST(CheckCalls, FindsEveryMistakeInOnePass) {
  std::vector<Call> calls = grpo_calls();
  calls[0].n_seqs = 3;
  calls[1].inputs.clear();
  calls[2].outputs = bindings("rewards");

  EXPECT_EQ(check_calls(calls).size(), 3u);
}

}  // namespace
}  // namespace orrery::graph
