#include "orrery/graph/plan_text.h"

#include <gtest/gtest.h>

#include <string>

#include "calls_for_test.h"

namespace orrery::graph {
namespace {

Graph small_graph() {
  std::vector<Call> calls = {
      make_call({.name = "gen",
                 .kind = CallKind::kGenerate,
                 .role = "actor",
                 .inputs = "prompts",
                 .outputs = "ids, logp",
                 .layout = "d2",
                 .n_seqs = 2}),
      make_call({.name = "train",
                 .kind = CallKind::kTrainStep,
                 .role = "actor",
                 .inputs = "ids, logp",
                 .layout = "t2"}),
  };
  calls[0].interface = "generate";
  return build_graph(std::move(calls));
}

TEST(GraphText, DrawsLevelsWithBoxesAndEdges) {
  EXPECT_EQ(graph_text(small_graph()),
            "step: 4 samples, 2 calls, at most 1 at once\n"
            "from the dataset: prompts\n"
            "\n"
            "level 0\n"
            "  +---------------------+\n"
            "  | gen                 |\n"
            "  | generate of actor.1 |\n"
            "  | generate            |\n"
            "  | d2t1p1@0-1          |\n"
            "  | 2 runs of 2 samples |\n"
            "  +---------------------+\n"
            "\n"
            "level 1\n"
            "  gen --[ids, logp]--> train\n"
            "  +-----------------------+\n"
            "  | train                 |\n"
            "  | train_step of actor.0 |\n"
            "  | -                     |\n"
            "  | d1t2p1@0-1            |\n"
            "  | 1 run of 4 samples    |\n"
            "  +-----------------------+\n");
}

TEST(GraphText, BreaksAWideLevelIntoRows) {
  std::vector<Call> calls;
  for (int i = 0; i < 12; ++i) {
    const std::string name = "call_" + std::to_string(i);
    calls.push_back(make_call({.name = name, .role = name, .inputs = "x"}));
  }

  const std::string text = graph_text(build_graph(calls));

  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    EXPECT_LE(end - begin, 100u);
    begin = end + 1;
  }
  EXPECT_NE(text.find("call_11"), std::string::npos);
}

TEST(ReplicasText, ListsLayoutsOriginsAndCalls) {
  const Graph graph = small_graph();

  EXPECT_EQ(replicas_text(graph, replicas_of(graph)),
            "replica  layout      parameters                calls\n"
            "actor.0  d1t2p1@0-1  loaded at start, trained  train\n"
            "actor.1  d2t1p1@0-1  from replica 0            gen\n");
}

TEST(HooksText, ListsParameterMoves) {
  EXPECT_EQ(hooks_text(small_graph(), {}),
            "call  before                      after\n"
            "gen   realloc actor.0 -> actor.1  release actor.1\n");
  EXPECT_EQ(hooks_text(build_graph(grpo_calls()), {}), "no parameters move between replicas\n");
}

TEST(HooksText, ShowsMixingAndOffload) {
  std::vector<Call> calls = grpo_calls();
  calls[3].post_realloc = "ref";
  calls[3].eta = 0.25;

  const std::string text = hooks_text(build_graph(calls), {.offload_when_idle = {"reward"}});

  EXPECT_NE(text.find("realloc actor.0 -> ref.0 (eta 0.25)"), std::string::npos) << text;
  EXPECT_NE(text.find("offload reward.0"), std::string::npos) << text;
}

TEST(WorkersTable, ShowsTheShardOfEveryWorker) {
  const Graph graph = small_graph();

  EXPECT_EQ(workers_table(replicas_of(graph), 3),
            "worker  actor.0   actor.1\n"
            "0       p0 d0 t0  p0 d0 t0\n"
            "1       p0 d0 t1  p0 d1 t0\n"
            "2       -         -\n");
}

TEST(CommunicatorsText, ListsGroupsWithTheirNames) {
  const Graph graph = small_graph();

  const std::string text = communicators_text(plan_communicators(replicas_of(graph), 2));

  EXPECT_EQ(text.substr(0, text.find('\n')), "split         workers  groups");
  EXPECT_NE(text.find("workers       0-1      workers, actor.0/model, actor.0/tensor0, "
                      "actor.1/model, actor.1/data0"),
            std::string::npos)
      << text;
}

}  // namespace
}  // namespace orrery::graph
