// Every case of golden topology.json.
#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "golden_file.h"
#include "orrery/base/error.h"
#include "orrery/graph/topology.h"

namespace orrery::graph {
namespace {

using nlohmann::json;

// What we answer differently from the reference.
const golden::QuirkChoices kQuirks = {
    {"equality-ignores-axis-names",
     {golden::Quirk::kOurs, "topologies with different axis orders are different"}},
};

Axis axis_of(const std::string& name) { return axis_named(name).value(); }

Topology topology_of_case(const golden::Case& c) {
  const std::vector<std::string> axes = c["axes"];
  const std::vector<int> dims = c["dims"];
  Degrees degrees;
  for (size_t i = 0; i < axes.size(); ++i) {
    switch (axis_of(axes[i])) {
      case Axis::kPipe:
        degrees.pipe = dims[i];
        break;
      case Axis::kData:
        degrees.data = dims[i];
        break;
      case Axis::kTensor:
        degrees.tensor = dims[i];
        break;
    }
  }
  return Topology(degrees, axis_order_named(axes).value());
}

/// A coordinate in the order of the topology's axes.
std::vector<int> in_axis_order(const Topology& topology, const Coordinate& at) {
  if (topology.order() == AxisOrder::kDataPipeTensor) return {at.data, at.pipe, at.tensor};
  return {at.pipe, at.data, at.tensor};
}

CoordinateFilter filter_of(const json& match) {
  CoordinateFilter filter;
  if (match.contains("pipe")) filter.pipe = match["pipe"].get<int>();
  if (match.contains("data")) filter.data = match["data"].get<int>();
  if (match.contains("tensor")) filter.tensor = match["tensor"].get<int>();
  return filter;
}

TEST(TopologyGolden, Topologies) {
  golden::for_each_case("topology.json", "topologies", [](const golden::Case& c) {
    const Topology topology = topology_of_case(c);

    EXPECT_EQ(topology.size(), c["world_size"].get<int>());
    std::vector<Axis> all_axes;
    for (Axis axis : topology.axes()) all_axes.push_back(axis);
    for (int rank = 0; rank < topology.size(); ++rank) {
      const size_t r = static_cast<size_t>(rank);
      const Coordinate at = topology.coordinate(rank);
      EXPECT_EQ(in_axis_order(topology, at), c["coords"][r].get<std::vector<int>>());
      EXPECT_EQ(topology.rank(at), rank);
      EXPECT_EQ(topology.rank_text(rank, {Axis::kTensor}), c["rank_repr"][r].get<std::string>());
      EXPECT_EQ(topology.rank_text(rank, all_axes), c["rank_repr_all_axes"][r].get<std::string>());
      EXPECT_EQ(shard_name(c["shard_names"]["role"].get<std::string>(),
                           c["shard_names"]["replica_id"].get<int>(), topology, at),
                c["shard_names"]["names"][r].get<std::string>());
      const RankPair pair = topology.p2p_pairs()[r];
      EXPECT_EQ((std::vector<int>{pair.from, pair.to}), c["p2p_pairs"][r].get<std::vector<int>>());
    }
    for (Axis axis : all_axes) {
      const std::string name(name_of(axis));
      EXPECT_EQ(topology.groups_along(axis),
                c["comm_lists"][name].get<std::vector<std::vector<int>>>());
      const auto lists = c["axis_lists"][name].get<std::vector<std::vector<int>>>();
      ASSERT_EQ(static_cast<int>(lists.size()), topology.size_along(axis));
      for (size_t i = 0; i < lists.size(); ++i) {
        EXPECT_EQ(topology.ranks_at(axis, static_cast<int>(i)), lists[i]);
      }
    }
    for (const json& query : c["filter_match"]) {
      EXPECT_EQ(topology.matching(filter_of(query["match"])),
                query["ranks"].get<std::vector<int>>())
          << query.dump();
    }
    EXPECT_EQ(topology.dp_heads(), c["dp_heads"].get<std::vector<int>>());
    for (int head : topology.dp_heads()) EXPECT_TRUE(topology.is_dp_head(head));
  });
}

/// A coordinate from named indices; nothing when an axis is unknown or missing, which the types of
/// this library do not let a caller express.
std::optional<Coordinate> coordinate_of(const json& args) {
  if (!args.contains("pipe") || !args.contains("data") || !args.contains("tensor")) {
    return std::nullopt;
  }
  return Coordinate{args["pipe"].get<int>(), args["data"].get<int>(), args["tensor"].get<int>()};
}

/// Runs the call of an error case; throws what it throws. Nothing: cannot be expressed.
std::optional<json> outcome(const golden::Case& c) {
  if (!c.has("call")) {
    if (!axis_order_named(c["axes"].get<std::vector<std::string>>())) return std::nullopt;
    return json("accepted");
  }
  const Topology topology = topology_of_case(c);
  const std::string call = c["call"];
  const json& args = c["args"];
  const std::string axis_name = args.value("axis", "");
  const bool is_axis = axis_named(axis_name).has_value();
  const Axis axis = axis_named(axis_name).value_or(Axis::kPipe);
  if (call == "get_rank") {
    const auto at = coordinate_of(args);
    if (!at) return std::nullopt;
    return topology.rank(*at);
  }
  if (call == "get_coord") {
    topology.coordinate(args["rank"].get<int>());
    return json("accepted");
  }
  if (call == "get_dim") return is_axis ? topology.size_along(axis) : 0;
  if (call == "get_axis_comm_lists") {
    return is_axis ? json(topology.groups_along(axis)) : json::array();
  }
  if (call == "get_axis_list") {
    if (!is_axis) return std::nullopt;
    return topology.ranks_at(axis, args["idx"].get<int>());
  }
  if (call == "filter_match") return std::nullopt;
  if (call == "shard_name") {
    const auto at = coordinate_of(args);
    shard_name(args["role"].get<std::string>(), 0, topology, at.value_or(Coordinate{}));
    return json("accepted");
  }
  ADD_FAILURE() << "unknown call " << call;
  return std::nullopt;
}

TEST(TopologyGolden, Errors) {
  golden::for_each_case("topology.json", "errors", [](const golden::Case& c) {
    std::optional<json> result;
    bool threw = false;
    try {
      result = outcome(c);
    } catch (const ConfigError&) {
      threw = true;
    }
    if (c.expects_error()) {
      EXPECT_TRUE(threw || !result.has_value());
    } else {
      ASSERT_TRUE(result.has_value());
      EXPECT_EQ(*result, c["expect"]["value"]);
    }
  });
}

Topology from_letters(const json& v) {
  return Topology({.pipe = v[1], .data = v[2], .tensor = v[3]},
                  v[0] == "pdt" ? AxisOrder::kPipeDataTensor : AxisOrder::kDataPipeTensor);
}

TEST(TopologyGolden, Equality) {
  golden::for_each_case(
      "topology.json", "equality",
      [](const golden::Case& c) {
        const bool equal = from_letters(c["a"]) == from_letters(c["b"]);
        EXPECT_EQ(equal, c.choice == golden::Quirk::kOurs ? false : c.expect().get<bool>());
      },
      {.quirks = kQuirks});
}

TEST(TopologyGolden, Factors) {
  golden::for_each_case("topology.json", "three_factors", [](const golden::Case& c) {
    EXPECT_EQ(three_factors(c["n"].get<int>()),
              (c["expect"].get<std::vector<std::array<int, 3>>>()));
  });
  golden::for_each_case("topology.json", "prime_factors", [](const golden::Case& c) {
    EXPECT_EQ(prime_factors(c["n"].get<int>()), c["expect"].get<std::vector<int>>());
  });
}

TEST(Topology, RefusesDegreesBelowOne) {
  EXPECT_THROW(Topology({.pipe = 0}), ConfigError);
  EXPECT_THROW(Topology({.data = -1}), ConfigError);
}

}  // namespace
}  // namespace orrery::graph
