// Every case of golden topology.json.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "golden_file.h"
#include "orrery/base/error.h"
#include "orrery/graph/topology.h"

namespace orrery::graph {
namespace {

using nlohmann::json;

std::optional<Axis> axis_of(const std::string& name) {
  for (const Axis axis : {Axis::kPipe, Axis::kData, Axis::kTensor}) {
    if (name_of(axis) == name) return axis;
  }
  return std::nullopt;
}

using Lists = std::vector<std::vector<int>>;

/// Ranks are numbered in one order here.
std::string other_order(const golden::Case& c) {
  return c["axes"] == json({"pipe", "data", "tensor"}) ? ""
                                                       : "ranks have one order: pipe, data, tensor";
}

Topology topology_of_case(const golden::Case& c) {
  const json& dims = c["dims"];
  return Topology({.pipe = dims.at(0), .data = dims.at(1), .tensor = dims.at(2)});
}

TEST(TopologyGolden, Topologies) {
  golden::for_each_case(
      "topology.json", "topologies",
      [](const golden::Case& c) {
        const Topology topology = topology_of_case(c);

        EXPECT_EQ(topology.size(), c["world_size"].get<int>());
        for (int rank = 0; rank < topology.size(); ++rank) {
          const Coordinate at = topology.coordinate(rank);
          EXPECT_EQ((std::vector<int>{at.pipe, at.data, at.tensor}),
                    c["coords"].at(static_cast<size_t>(rank)).get<std::vector<int>>());
          EXPECT_EQ(topology.rank(at), rank);
        }
        for (const Axis axis : {Axis::kPipe, Axis::kData, Axis::kTensor}) {
          const std::string name(name_of(axis));
          EXPECT_EQ(topology.groups_along(axis), c["comm_lists"].at(name).get<Lists>());
          const auto lists = c["axis_lists"].at(name).get<Lists>();
          ASSERT_EQ(static_cast<int>(lists.size()), topology.size_along(axis));
          for (size_t i = 0; i < lists.size(); ++i) {
            EXPECT_EQ(topology.ranks_at(axis, static_cast<int>(i)), lists[i]);
          }
        }
        EXPECT_EQ(topology.dp_heads(), c["dp_heads"].get<std::vector<int>>());
        for (const int head : topology.dp_heads()) EXPECT_TRUE(topology.is_dp_head(head));
      },
      {.leave_out_if = other_order});
}

const json& integer(const json& args, const char* name) {
  if (!args.contains(name)) golden::throw_problem(std::string("no ") + name);
  return args.at(name);
}

Axis axis_argument(const json& args) {
  const std::optional<Axis> axis = axis_of(args.value("axis", ""));
  if (!axis) golden::throw_problem("no such axis");
  return *axis;
}

Coordinate coordinate_of(const json& args) {
  return {integer(args, "pipe").get<int>(), integer(args, "data").get<int>(),
          integer(args, "tensor").get<int>()};
}

/// The calls that exist here; what they give. What a caller cannot write down is refused by the
/// types; so is a name of an axis, for which the reference gives size 0 and no lists.
const std::map<std::string, std::function<json(const Topology&, const json&)>> kCalls = {
    {"get_rank", [](const Topology& t, const json& args) { return t.rank(coordinate_of(args)); }},
    {"get_coord",
     [](const Topology& t, const json& args) {
       const Coordinate at = t.coordinate(integer(args, "rank").get<int>());
       return json({at.pipe, at.data, at.tensor});
     }},
    {"get_dim",
     [](const Topology& t, const json& args) { return t.size_along(axis_argument(args)); }},
    {"get_axis_comm_lists",
     [](const Topology& t, const json& args) { return t.groups_along(axis_argument(args)); }},
    {"get_axis_list",
     [](const Topology& t, const json& args) {
       return t.ranks_at(axis_argument(args), integer(args, "idx").get<int>());
     }},
};

std::string missing_call(const golden::Case& c) {
  if (c.has("axes") && !other_order(c).empty()) return other_order(c);
  if (!c.has("call")) return "";
  const std::string call = c["call"].get<std::string>();
  if (!kCalls.contains(call)) return "there is no call " + call;
  const bool asks_of_no_axis = c["args"].contains("axis") && !axis_of(c["args"].at("axis"));
  return asks_of_no_axis && c.expect().contains("value")
             ? "an axis that does not exist cannot be written down"
             : "";
}

TEST(TopologyGolden, Errors) {
  golden::for_each_case("topology.json", "errors",
                        [](const golden::Case& c) {
                          const Topology topology = topology_of_case(c);
                          if (!c.has("call")) return;
                          const json got =
                              kCalls.at(c["call"].get<std::string>())(topology, c["args"]);
                          EXPECT_EQ(got, c.expect().at("value"));
                        },
                        {.leave_out_if = missing_call});
}

TEST(TopologyGolden, Equality) {
  const auto topology_of = [](const json& v) {
    return Topology({.pipe = v.at(1), .data = v.at(2), .tensor = v.at(3)});
  };
  golden::for_each_case("topology.json", "equality",
                        [&](const golden::Case& c) {
                          EXPECT_EQ(topology_of(c["a"]) == topology_of(c["b"]),
                                    c["expect"].get<bool>());
                        },
                        {.leave_out_if = [](const golden::Case& c) -> std::string {
                          const bool one = c["a"].at(0) == "pdt" && c["b"].at(0) == "pdt";
                          return one ? "" : "ranks have one order: pipe, data, tensor";
                        }});
}

TEST(TopologyGolden, FactorsHaveNoCounterpart) {
  golden::leave_out_section("topology.json", "three_factors", "layouts are given, not searched");
  golden::leave_out_section("topology.json", "prime_factors", "layouts are given, not searched");
}

TEST(Topology, RefusesDegreesBelowOne) {
  EXPECT_THROW(Topology({.pipe = 0}), ConfigError);
  EXPECT_THROW(Topology({.data = -1}), ConfigError);
}

}  // namespace
}  // namespace orrery::graph
