#include "orrery/graph/topology.h"

#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/text.h"   // concat

namespace orrery::graph {

namespace {

int along(const Coordinate& at, Axis axis) {
  switch (axis) {
    case Axis::kPipe:
      return at.pipe;
    case Axis::kData:
      return at.data;
    case Axis::kTensor:
      return at.tensor;
  }
  return 0;
}

std::string degrees_text(const Degrees& degrees) {
  return base::concat("pipe ", degrees.pipe, ", data ", degrees.data, ", tensor ", degrees.tensor);
}

/// `value` with leading zeros, as wide as the number `limit`.
std::string padded(int value, int limit) {
  std::string digits = std::to_string(value);
  const size_t width = std::to_string(limit).size();
  if (digits.size() < width) digits.insert(0, width - digits.size(), '0');
  return digits;
}

}  // namespace

std::string_view name_of(Axis axis) {
  switch (axis) {
    case Axis::kPipe:
      return "pipe";
    case Axis::kData:
      return "data";
    case Axis::kTensor:
      return "tensor";
  }
  return "?";
}

std::optional<Axis> axis_named(std::string_view name) {
  for (Axis axis : {Axis::kPipe, Axis::kData, Axis::kTensor}) {
    if (name_of(axis) == name) return axis;
  }
  return std::nullopt;
}

std::optional<AxisOrder> axis_order_named(const std::vector<std::string>& axes) {
  for (AxisOrder order : {AxisOrder::kPipeDataTensor, AxisOrder::kDataPipeTensor}) {
    std::vector<std::string> names;
    for (Axis axis : Topology(Degrees{}, order).axes()) names.emplace_back(name_of(axis));
    if (names == axes) return order;
  }
  return std::nullopt;
}

Topology::Topology(Degrees degrees, AxisOrder order) : degrees_(degrees), order_(order) {
  if (degrees.pipe < 1 || degrees.data < 1 || degrees.tensor < 1) {
    throw ConfigError("a degree of parallelism is below 1",
                      {.expected = "pipe, data and tensor of at least 1",
                       .got = degrees_text(degrees),
                       .advice = "leave out the letter of an axis that is not split"});
  }
}

std::array<Axis, 3> Topology::axes() const {
  if (order_ == AxisOrder::kDataPipeTensor) return {Axis::kData, Axis::kPipe, Axis::kTensor};
  return {Axis::kPipe, Axis::kData, Axis::kTensor};
}

int Topology::size_along(Axis axis) const {
  return along({degrees_.pipe, degrees_.data, degrees_.tensor}, axis);
}

int Topology::rank(const Coordinate& at) const {
  int rank = 0;
  for (Axis axis : axes()) {
    const int index = along(at, axis);
    if (index < 0 || index >= size_along(axis)) {
      throw ConfigError(
          "a coordinate is outside its topology",
          {.expected = base::concat(name_of(axis), " from 0 to ", size_along(axis) - 1),
           .got = base::concat(name_of(axis), " ", index),
           .advice = base::concat("the degrees are ", degrees_text(degrees_))});
    }
    rank = rank * size_along(axis) + index;
  }
  return rank;
}

Coordinate Topology::coordinate(int rank) const {
  if (rank < 0 || rank >= size()) {
    throw ConfigError("a rank is outside its topology",
                      {.expected = base::concat("a rank from 0 to ", size() - 1),
                       .got = std::to_string(rank),
                       .advice = base::concat("the degrees are ", degrees_text(degrees_))});
  }
  Coordinate at;
  at.tensor = rank % degrees_.tensor;
  rank /= degrees_.tensor;
  if (order_ == AxisOrder::kDataPipeTensor) {
    at.pipe = rank % degrees_.pipe;
    at.data = rank / degrees_.pipe;
  } else {
    at.data = rank % degrees_.data;
    at.pipe = rank / degrees_.data;
  }
  return at;
}

std::vector<std::vector<int>> Topology::groups_along(Axis axis) const {
  // Ranks are row-major, so the group starts (index 0 on `axis`) come in row-major order of the
  // other axes, and the members of a group are a fixed stride apart.
  int stride = 1;
  bool inside = false;
  for (Axis other : axes()) {
    if (inside) stride *= size_along(other);
    if (other == axis) inside = true;
  }
  std::vector<std::vector<int>> groups;
  for (int start : ranks_at(axis, 0)) {
    std::vector<int>& group = groups.emplace_back();
    for (int i = 0; i < size_along(axis); ++i) group.push_back(start + i * stride);
  }
  return groups;
}

std::vector<int> Topology::ranks_at(Axis axis, int index) const {
  std::vector<int> ranks;
  for (int r = 0; r < size(); ++r) {
    if (along(coordinate(r), axis) == index) ranks.push_back(r);
  }
  return ranks;
}

std::vector<int> Topology::matching(const CoordinateFilter& filter) const {
  std::vector<int> ranks;
  for (int r = 0; r < size(); ++r) {
    const Coordinate at = coordinate(r);
    if (at.pipe == filter.pipe.value_or(at.pipe) && at.data == filter.data.value_or(at.data) &&
        at.tensor == filter.tensor.value_or(at.tensor)) {
      ranks.push_back(r);
    }
  }
  return ranks;
}

std::vector<int> Topology::dp_heads() const {
  std::vector<int> heads;
  for (int d = 0; d < degrees_.data; ++d) heads.push_back(rank(degrees_.pipe - 1, d, 0));
  return heads;
}

bool Topology::is_dp_head(int rank) const {
  const Coordinate at = coordinate(rank);
  return at.pipe == degrees_.pipe - 1 && at.tensor == 0;
}

std::vector<RankPair> Topology::p2p_pairs() const {
  std::vector<RankPair> pairs;
  for (int r = 0; r < size(); ++r) {
    Coordinate next = coordinate(r);
    next.pipe = (next.pipe + 1) % degrees_.pipe;
    pairs.push_back({r, rank(next)});
  }
  return pairs;
}

std::string Topology::rank_text(int rank, const std::vector<Axis>& which) const {
  const Coordinate at = coordinate(rank);
  std::string text;
  for (Axis axis : which) {
    if (!text.empty()) text += "-";
    text += base::concat(name_of(axis), "_", padded(along(at, axis), size()));
  }
  return text;
}

Topology topology_of(const Layout& layout) {
  return Topology({.pipe = layout.pipe, .data = layout.data, .tensor = layout.tensor});
}

std::string shard_name(std::string_view role, int replica, const Topology& topology,
                       const Coordinate& at) {
  if (role.find('@') != std::string_view::npos) {
    throw ConfigError("a role's name contains '@'",
                      {.expected = "a name without '@', which separates the parts of shard names",
                       .got = std::string(role),
                       .advice = "rename the section [model." + std::string(role) + "]"});
  }
  topology.rank(at);  // refuses a coordinate outside
  const int size = topology.size();
  return base::concat("ModelName(role='", role, "', replica_id=", replica, ")@pp",
                      padded(at.pipe, size), "@tp", padded(at.tensor, size), "@dp",
                      padded(at.data, size));
}

std::vector<std::array<int, 3>> three_factors(int n) {
  std::vector<std::array<int, 3>> triples;
  for (int a = 1; a <= n; ++a) {
    if (n % a != 0) continue;
    for (int b = 1; b <= n / a; ++b) {
      if ((n / a) % b == 0) triples.push_back({a, b, n / a / b});
    }
  }
  return triples;
}

std::vector<int> prime_factors(int n) {
  std::vector<int> factors;
  for (int p = 2; p <= n / p; ++p) {
    for (; n % p == 0; n /= p) factors.push_back(p);
  }
  if (n > 1) factors.push_back(n);
  return factors;
}

}  // namespace orrery::graph
