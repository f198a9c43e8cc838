#include "orrery/graph/replica.h"

#include <gtest/gtest.h>

#include <vector>

#include "calls_for_test.h"

namespace orrery::graph {
namespace {

using Hooks = std::vector<ResolvedHook>;

TEST(Replicas, AreTheDistinctLayoutsOfARole) {
  const Graph graph = build_graph(grpo_calls("d2@0-1", "t2@0-1"));

  const std::vector<Replica> replicas = replicas_of(graph);

  ASSERT_EQ(replicas.size(), 4u);
  EXPECT_EQ(replicas[0].id, (ReplicaId{"actor", 0}));
  EXPECT_EQ(replicas[0].layout.text(), "d1t2p1@0-1");
  EXPECT_TRUE(replicas[0].is_trained);
  EXPECT_EQ(replicas[0].origin, Origin::kLoad);
  EXPECT_EQ(replicas[1].id, (ReplicaId{"actor", 1}));
  EXPECT_EQ(replicas[1].origin, Origin::kRealloc);
  EXPECT_EQ(replicas[1].calls, (std::vector<int>{0}));
}

TEST(Replicas, ShareOneWhenTheLayoutsAreEqual) {
  const Graph graph = build_graph(grpo_calls("d2", "d2@0-1"));

  EXPECT_EQ(replicas_of(graph).size(), 3u);
  EXPECT_EQ(replicas_of(graph)[0].calls, (std::vector<int>{0, 3}));
}

TEST(Replicas, OfAnUntrainedRoleAllLoadFromItsOrigin) {
  const Graph graph = build_graph({
      make_call({.name = "a", .role = "ref", .inputs = "x", .outputs = "y", .layout = "d1@0"}),
      make_call({.name = "b", .role = "ref", .inputs = "y", .outputs = "z", .layout = "d1@1"}),
  });

  for (const Replica& replica : replicas_of(graph)) EXPECT_EQ(replica.origin, Origin::kLoad);
  EXPECT_TRUE(hooks_of(graph, 1).pre.empty());
}

TEST(Replicas, WithoutParametersHaveNoOriginAndNoHooks) {
  std::vector<Call> calls = grpo_calls();
  calls[1].has_parameters = false;

  const Graph graph = build_graph(calls);

  EXPECT_EQ(replicas_of(graph)[1].origin, Origin::kNone);
  EXPECT_TRUE(hooks_of(graph, 1, {.offload_when_idle = {"reward"}}).post.empty());
}

TEST(Hooks, FillACopyBeforeTheCallAndReleaseItAfter) {
  const Graph graph = build_graph(grpo_calls("d2@0-1", "t2@0-1"));
  const ReplicaId trained{"actor", 0}, copy{"actor", 1};

  EXPECT_EQ(hooks_of(graph, 0).pre, (Hooks{ParamRealloc{.from = trained, .to = copy, .eta = 1}}));
  EXPECT_EQ(hooks_of(graph, 0).post, (Hooks{Release{copy}}));
  EXPECT_TRUE(hooks_of(graph, 3).pre.empty());
  EXPECT_TRUE(hooks_of(graph, 3).post.empty());
}

TEST(Hooks, AreAbsentWhenAllCallsOfARoleShareALayout) {
  const Graph graph = build_graph(grpo_calls());

  for (int call = 0; call < graph.size(); ++call) {
    EXPECT_TRUE(hooks_of(graph, call).pre.empty());
    EXPECT_TRUE(hooks_of(graph, call).post.empty());
  }
}

TEST(Hooks, MoveParametersToAnotherRoleAfterTraining) {
  std::vector<Call> calls = grpo_calls();
  calls[3].post_realloc = "ref";
  calls[3].eta = 0.1;

  const CallHooks hooks = hooks_of(build_graph(calls), 3);

  EXPECT_EQ(hooks.post, (Hooks{ParamRealloc{.from = {"actor", 0}, .to = {"ref", 0}, .eta = 0.1}}));
}

TEST(Hooks, KeepFurtherReplicasOfAFollowingRoleUpToDate) {
  std::vector<Call> calls = grpo_calls();
  calls[3].post_realloc = "ref";
  calls.push_back(make_call(
      {.name = "ref_again", .role = "ref", .inputs = "ids", .outputs = "more", .layout = "d1@1"}));
  const Graph graph = build_graph(calls);

  EXPECT_EQ(replicas_of(graph).back().origin, Origin::kRealloc);
  EXPECT_EQ(hooks_of(graph, 4).pre,
            (Hooks{ParamRealloc{.from = {"ref", 0}, .to = {"ref", 1}, .eta = 1}}));
}

TEST(Hooks, OffloadARoleThatNeverChangesWhenMemoryAsksForIt) {
  const Graph graph = build_graph(grpo_calls());
  const ResidencyPolicy policy{.offload_when_idle = {"ref", "actor"}};

  EXPECT_EQ(hooks_of(graph, 2, policy).post, (Hooks{Offload{{"ref", 0}}}));
  EXPECT_TRUE(hooks_of(graph, 0, policy).post.empty());  // the actor is trained
}

TEST(Hooks, OffloadTheOptimizerAfterATrainStepWhenMemoryAsksForIt) {
  const Graph graph = build_graph(grpo_calls());
  const ResidencyPolicy policy{.offload_optimizer = {"ref", "actor"}};

  EXPECT_EQ(hooks_of(graph, 3, policy).post, (Hooks{OffloadOptimizer{{"actor", 0}}}));
  EXPECT_TRUE(hooks_of(graph, 2, policy).post.empty());  // the reference has none
}

}  // namespace
}  // namespace orrery::graph
