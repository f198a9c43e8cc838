// The graph sections of golden master_schedule.json; which calls are ready is the sequence buffer's
// to say (tests/master/schedule_golden_test.cpp).
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "golden_file.h"
#include "orrery/base/error.h"
#include "orrery/graph/graph.h"

namespace orrery::graph {
namespace {

using Names = std::vector<std::string>;
using nlohmann::json;

std::vector<config::KeyBinding> bindings_of(const json& keys) {
  std::vector<config::KeyBinding> result;
  for (const json& key : keys) {
    result.push_back({key.get<std::string>(), key.get<std::string>()});
  }
  return result;
}

std::vector<Call> calls_of(const json& list) {
  std::vector<Call> calls;
  for (const json& c : list) {
    Call call;
    call.name = c.at("name");
    const auto kind = call_kind_named(c.value("interface_type", "inference"));
    if (!kind) golden::throw_problem("no such kind of call");
    call.kind = *kind;
    call.role = c.value("role", call.name);
    call.replica = c.value("replica_id", 0);
    call.n_seqs = c.value("n_seqs", 1);
    call.inputs = bindings_of(c.at("input_keys"));
    call.outputs = bindings_of(c.at("output_keys"));
    call.layout = default_layout(1);
    calls.push_back(std::move(call));
  }
  return calls;
}

Names names_of(const Graph& graph, const std::vector<int>& calls) {
  Names names;
  for (int call : calls) names.push_back(graph.call(call).name);
  return names;
}

Names sorted(Names names) {
  std::sort(names.begin(), names.end());
  return names;
}

void expect_edges(const Graph& graph, const json& edges) {
  ASSERT_EQ(graph.edges().size(), edges.size());
  for (size_t i = 0; i < edges.size(); ++i) {
    const Edge& edge = graph.edges()[i];
    EXPECT_EQ(graph.call(edge.producer).name, edges.at(i).at("src"));
    EXPECT_EQ(graph.call(edge.consumer).name, edges.at(i).at("dst"));
    EXPECT_EQ(edge.keys, edges.at(i).at("keys").get<Names>());
  }
}

void expect_calls(const Graph& graph, const golden::Fields& expect) {
  for (int i = 0; i < graph.size(); ++i) {
    const std::string name = graph.call(i).name;
    SCOPED_TRACE(name);
    EXPECT_EQ(graph.is_source(i), expect.at("is_src").at(name).get<bool>());
    EXPECT_EQ(graph.is_sink(i), expect.at("is_dst").at(name).get<bool>());
    EXPECT_EQ(names_of(graph, graph.parents(i)), expect.at("parents").at(name).get<Names>());
    EXPECT_EQ(names_of(graph, graph.children(i)), expect.at("children").at(name).get<Names>());
    EXPECT_EQ(names_of(graph, graph.all_successors(i)),
              expect.at("all_successors").at(name).get<Names>());
  }
}

void expect_keys(const Graph& graph, const golden::Fields& expect) {
  const auto model_of = [&](int call) {
    return json::array({graph.call(call).role, graph.call(call).replica});
  };
  for (const auto& [key, model] : expect.at("producers").items()) {
    EXPECT_EQ(model_of(graph.producer(key)), model) << key;
  }
  EXPECT_EQ(sorted(graph.dataset_keys()), sorted(expect.at("dataset_keys").get<Names>()));
}

void expect_levels(const Graph& graph, const golden::Fields& expect) {
  ASSERT_EQ(graph.levels().size(), expect.at("levels").size());
  for (size_t level = 0; level < graph.levels().size(); ++level) {
    EXPECT_EQ(sorted(names_of(graph, graph.levels()[level])),
              sorted(expect.at("levels").at(level).get<Names>()));
    EXPECT_EQ(graph.levels()[level].size(), expect.at("level_widths").at(level).get<size_t>());
  }
  ASSERT_FALSE(graph.sources().empty());
  EXPECT_EQ(graph.call(graph.sources().front()).name, expect.at("first_source").get<std::string>());
  EXPECT_EQ(graph.max_concurrent_calls(), expect.at("max_concurrent_calls").get<int>());
}

/// The reference lets a call run once more for what is left over; here every batch is full.
std::string left_over_samples(const golden::Case& c) {
  int64_t largest = 1;
  for (const json& call : c["calls"]) largest = std::max(largest, call.value("n_seqs", int64_t{1}));
  for (const json& call : c["calls"]) {
    if (largest % std::max<int64_t>(call.value("n_seqs", int64_t{1}), 1) != 0) {
      return "the largest batch is no multiple of every n_seqs";
    }
  }
  return "";
}

TEST(GraphGolden, Graphs) {
  golden::for_each_case("master_schedule.json", "graphs",
                        [](const golden::Case& c) {
                          const Graph graph(calls_of(c["calls"]));

                          expect_edges(graph, c.expect().at("edges"));
                          expect_calls(graph, c.expect());
                          expect_keys(graph, c.expect());
                          expect_levels(graph, c.expect());
                        },
                        {.leave_out_if = left_over_samples});
}

TEST(GraphGolden, Errors) {
  golden::for_each_case("master_schedule.json", "graph_errors",
                        [](const golden::Case& c) { Graph(calls_of(c["calls"])); });
}

TEST(GraphGolden, EveryCallRunsAsOftenAsTheLargestBatchAsks) {
  golden::leave_out_section("master_schedule.json", "calls_per_step",
                            "a step takes the largest batch of all calls, not of the successors");
}

}  // namespace
}  // namespace orrery::graph
