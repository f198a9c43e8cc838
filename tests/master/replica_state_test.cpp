#include "orrery/master/replica_state.h"

#include <gtest/gtest.h>

#include "calls_for_test.h"

namespace orrery::master {
namespace {

using Texts = std::vector<std::string>;

Texts names(const std::vector<PlacedHook>& hooks) {
  Texts result;
  for (const PlacedHook& hook : hooks) result.emplace_back(comm::name_of(hook.hook));
  return result;
}

graph::Graph two_layouts() { return grpo_graph({.generate = "d1t1p1@1", .train = "d1t1p1@0"}); }

TEST(ReplicaState, FillsAReplicaWhenItsRoleHasChangedAndReleasesItAfterItsLastUse) {
  const graph::Graph graph = two_layouts();
  ReplicaState replicas(graph, {}, {});
  const graph::ReplicaId generating = {"actor", 1};

  EXPECT_EQ(replicas.residence(generating), Residence::kAbsent);
  const ParameterHooks first = replicas.dispatch(0);
  EXPECT_EQ(names(first.pre), (Texts{"param_realloc"}));
  EXPECT_EQ(first.pre[0].workers, (std::vector<int>{0, 1}));
  EXPECT_EQ(names(first.post), (Texts{"release"}));
  EXPECT_EQ(first.post[0].workers, (std::vector<int>{1}));
  EXPECT_EQ(replicas.residence(generating), Residence::kAbsent);

  EXPECT_TRUE(replicas.dispatch(2).pre.empty());
  EXPECT_EQ(replicas.version({"actor", 0}), 1);

  replicas.begin_flush();
  replicas.begin_step();
  const ParameterHooks second = replicas.dispatch(0);
  EXPECT_EQ(std::get<comm::ReallocHook>(second.pre.at(0).hook).version, 1u);
}

TEST(ReplicaState, KeepsACurrentReplicaUntilItsLastRunOfTheStep) {
  std::vector<graph::Call> calls = two_layouts().calls();
  calls[0].n_seqs = 2;  // runs twice in a step
  const graph::Graph graph(calls);
  ReplicaState replicas(graph, {}, {});

  const ParameterHooks first = replicas.dispatch(0);
  const ParameterHooks second = replicas.dispatch(0);

  EXPECT_EQ(names(first.pre), (Texts{"param_realloc"}));
  EXPECT_TRUE(first.post.empty());
  EXPECT_TRUE(second.pre.empty()) << "it is current";
  EXPECT_EQ(names(second.post), (Texts{"release"}));
}

TEST(ReplicaState, DoesNotCopyParametersInTheFlushThatChangesThem) {
  const graph::Graph graph = two_layouts();
  ReplicaState replicas(graph, {}, {});

  EXPECT_FALSE(replicas.must_flush_before(0));
  replicas.dispatch(2);
  EXPECT_TRUE(replicas.must_flush_before(0));
  replicas.begin_flush();
  EXPECT_FALSE(replicas.must_flush_before(0));
}

TEST(ReplicaState, FetchesARoleFromTheHostBeforeItsNextUse) {
  graph::Call call;
  call.name = "ref_inf";
  call.role = "ref";
  call.inputs = {{"x", "x"}};
  call.outputs = {{"y", "y"}};
  call.layout = graph::Layout::parse("d2t1p1@0-1");
  call.n_seqs = 4;
  const graph::Graph graph({call});
  ReplicaState replicas(graph, {.offload_when_idle = {"ref"}}, {});

  EXPECT_EQ(replicas.residence({"ref", 0}), Residence::kHost) << "from the start";
  for (int step = 1; step <= 2; ++step) {
    const ParameterHooks hooks = replicas.dispatch(0);
    EXPECT_EQ(names(hooks.pre), (Texts{"prefetch"}));
    EXPECT_EQ(hooks.pre[0].workers, (std::vector<int>{0, 1}));
    EXPECT_EQ(names(hooks.post), (Texts{"offload"}));
    EXPECT_EQ(replicas.residence({"ref", 0}), Residence::kHost);
    replicas.begin_flush();
    replicas.begin_step();
  }
}

TEST(ReplicaState, OffloadsARoleAfterEachOfItsRunsOfAStep) {
  graph::Call call;
  call.name = "ref_inf";
  call.role = "ref";
  call.inputs = {{"x", "x"}};
  call.outputs = {{"y", "y"}};
  call.n_seqs = 2;  // runs twice in a step
  graph::Call other = call;
  other.name = "gen";
  other.role = "actor";
  other.outputs = {{"z", "z"}};
  other.n_seqs = 4;
  const graph::Graph graph({call, other});
  ReplicaState replicas(graph, {.offload_when_idle = {"ref"}}, {});

  for (int run = 0; run < 2; ++run) {
    const ParameterHooks hooks = replicas.dispatch(0);
    EXPECT_EQ(names(hooks.pre), (Texts{"prefetch"}));
    EXPECT_EQ(names(hooks.post), (Texts{"offload"}));
  }
}

TEST(ReplicaState, FetchesTheOptimizerForEachTrainStepAndForNothingElse) {
  const graph::Graph graph = grpo_graph({});
  ReplicaState replicas(graph, {.offload_optimizer = {"actor"}}, {});

  const ParameterHooks generate = replicas.dispatch(0);
  EXPECT_TRUE(generate.pre.empty());
  EXPECT_TRUE(generate.post.empty());
  const ParameterHooks train = replicas.dispatch(2);
  EXPECT_EQ(names(train.pre), (Texts{"fetch_optimizer"}));
  EXPECT_EQ(names(train.post), (Texts{"offload_optimizer"}));
}

TEST(ReplicaState, CountsAMixIntoAnotherRoleAsAChangeOfThatRole) {
  std::vector<graph::Call> calls = grpo_graph({}).calls();
  graph::Call ref = calls[1];
  ref.name = "ref_inf";
  ref.role = "ref";
  ref.has_parameters = true;
  ref.outputs = {{"logp", "ref_logp"}};
  ref.layout = graph::Layout::parse("d1t1p1@1");
  calls.push_back(ref);
  calls[2].post_realloc = "ref";
  calls[2].eta = 0.5;
  const graph::Graph graph(calls);
  ReplicaState replicas(graph, {}, {});

  replicas.dispatch(3);
  const ParameterHooks train = replicas.dispatch(2);

  ASSERT_EQ(names(train.post), (Texts{"param_realloc"}));
  const auto& realloc = std::get<comm::ReallocHook>(train.post[0].hook);
  EXPECT_EQ(realloc.role, "ref");
  EXPECT_EQ(realloc.from_role, "actor");
  EXPECT_EQ(realloc.eta, 0.5);
  EXPECT_EQ(train.post[0].workers, (std::vector<int>{0, 1}));
  EXPECT_EQ(replicas.version({"ref", 0}), 1);
  EXPECT_EQ(replicas.role_versions(), (std::map<std::string, int64_t>{{"actor", 1}, {"ref", 1}}));
}

TEST(ReplicaState, TakesUpTheVersionsOfACheckpoint) {
  const graph::Graph graph = two_layouts();
  ReplicaState replicas(graph, {}, {});

  replicas.restore({{"actor", 7}});

  EXPECT_EQ(replicas.version({"actor", 0}), 7);
  EXPECT_EQ(std::get<comm::ReallocHook>(replicas.dispatch(0).pre.at(0).hook).version, 7u);
}

TEST(ReplicaState, AsksForAFlushWhenMemoryWouldNotHoldBothReplicas) {
  const graph::Graph graph = grpo_graph({});
  graph::Call ref = graph.call(1);
  ref.name = "ref_inf";
  ref.role = "ref";
  ref.has_parameters = true;
  ref.outputs = {{"logp", "ref_logp"}};
  std::vector<graph::Call> calls = graph.calls();
  calls.push_back(ref);
  const graph::Graph with_ref(calls);
  ReplicaState replicas(
      with_ref, {.offload_when_idle = {"ref"}},
      {.shard_bytes = {{{"actor", 0}, 60}, {{"ref", 0}, 60}}, .worker_bytes = 100});
  replicas.dispatch(3);  // goes to the host afterwards
  replicas.begin_flush();
  replicas.begin_step();

  EXPECT_FALSE(replicas.must_flush_before(0));
  EXPECT_TRUE(replicas.must_flush_before(3)) << "the actor is on the device";
}

}  // namespace
}  // namespace orrery::master
