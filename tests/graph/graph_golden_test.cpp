// Sections graphs, graph_errors and calls_per_step of golden master_schedule.json.
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
    call.name = c["name"];
    call.kind = call_kind_named(c.value("interface_type", "inference")).value();
    call.role = c.value("role", call.name);
    call.replica = c.value("replica_id", 0);
    call.n_seqs = c.value("n_seqs", 1);
    call.inputs = bindings_of(c["input_keys"]);
    call.outputs = bindings_of(c["output_keys"]);
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
    EXPECT_EQ(graph.call(edge.producer).name, edges[i]["src"]);
    EXPECT_EQ(graph.call(edge.consumer).name, edges[i]["dst"]);
    EXPECT_EQ(edge.keys, edges[i]["keys"].get<Names>());
  }
}

void expect_calls(const Graph& graph, const json& expect) {
  for (int i = 0; i < graph.size(); ++i) {
    const std::string name = graph.call(i).name;
    SCOPED_TRACE(name);
    EXPECT_EQ(graph.is_source(i), expect["is_src"][name].get<bool>());
    EXPECT_EQ(graph.is_sink(i), expect["is_dst"][name].get<bool>());
    EXPECT_EQ(names_of(graph, graph.parents(i)), expect["parents"][name].get<Names>());
    EXPECT_EQ(names_of(graph, graph.children(i)), expect["children"][name].get<Names>());
    EXPECT_EQ(names_of(graph, graph.all_successors(i)),
              expect["all_successors"][name].get<Names>());
    EXPECT_EQ(graph.is_last_of_role(i), expect["is_dst_of_model_role"][name].get<bool>());
  }
}

void expect_keys(const Graph& graph, const json& expect) {
  const auto model_of = [&](int call) {
    return json::array({graph.call(call).role, graph.call(call).replica});
  };
  for (const auto& [key, model] : expect["producers"].items()) {
    EXPECT_EQ(model_of(graph.producer(key)), model) << key;
  }
  for (const auto& [key, models] : expect["consumers"].items()) {
    json got = json::array();
    for (int call : graph.consumers(key)) got.push_back(model_of(call));
    EXPECT_EQ(got, models) << key;
  }
  EXPECT_EQ(sorted(graph.dataset_keys()), sorted(expect["dataset_keys"].get<Names>()));
}

void expect_levels(const Graph& graph, const json& expect) {
  ASSERT_EQ(graph.levels().size(), expect["levels"].size());
  for (size_t level = 0; level < graph.levels().size(); ++level) {
    EXPECT_EQ(sorted(names_of(graph, graph.levels()[level])),
              sorted(expect["levels"][level].get<Names>()));
    EXPECT_EQ(graph.levels()[level].size(), expect["level_widths"][level].get<size_t>());
  }
  EXPECT_EQ(graph.call(graph.sources().front()).name, expect["first_source"].get<std::string>());
  EXPECT_EQ(names_of(graph, graph.sinks()), expect["leaf_calls"].get<Names>());
  EXPECT_EQ(graph.max_concurrent_calls(), expect["max_concurrent_calls"].get<int>());
}

void expect_ready_sets(const Graph& graph, const json& ready_sets) {
  for (const json& set : ready_sets) {
    std::vector<bool> finished(static_cast<size_t>(graph.size()), false);
    for (const json& name : set["finished"]) {
      finished[static_cast<size_t>(graph.find(name.get<std::string>()))] = true;
    }
    EXPECT_EQ(names_of(graph, graph.ready_calls(finished)), set["ready"].get<Names>())
        << set.dump();
    const bool all = std::all_of(finished.begin(), finished.end(), [](bool one) { return one; });
    EXPECT_EQ(all ? 0 : graph.samples_per_step(), set["samples_left"].get<int64_t>());
  }
}

TEST(GraphGolden, Graphs) {
  golden::for_each_case("master_schedule.json", "graphs", [](const golden::Case& c) {
    const Graph graph(calls_of(c["calls"]));

    expect_edges(graph, c["expect"]["edges"]);
    expect_calls(graph, c["expect"]);
    expect_keys(graph, c["expect"]);
    expect_levels(graph, c["expect"]);
    expect_ready_sets(graph, c["expect"]["ready_sets"]);
  });
}

TEST(GraphGolden, Errors) {
  golden::for_each_case("master_schedule.json", "graph_errors", [](const golden::Case& c) {
    EXPECT_THROW(Graph(calls_of(c["calls"])), ConfigError);
  });
}

TEST(GraphGolden, CallsPerStep) {
  golden::for_each_case("master_schedule.json", "calls_per_step", [](const golden::Case& c) {
    const Graph graph(calls_of(c["calls"]));
    for (int i = 0; i < graph.size(); ++i) {
      EXPECT_EQ(graph.min_calls_per_step(i),
                c["expect"]["n_calls_per_step"][graph.call(i).name].get<int64_t>())
          << graph.call(i).name;
    }
  });
}

}  // namespace
}  // namespace orrery::graph
