#include "orrery/graph/topology.h"

#include <array>

#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/text.h"   // concat

namespace orrery::graph {

namespace {

/// Slowest first.
constexpr std::array kAxes = {Axis::kPipe, Axis::kData, Axis::kTensor};

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

Topology::Topology(Degrees degrees) : degrees_(degrees) {
  if (degrees.pipe < 1 || degrees.data < 1 || degrees.tensor < 1) {
    throw ConfigError("a degree of parallelism is below 1",
                      {.expected = "pipe, data and tensor of at least 1",
                       .got = degrees_text(degrees),
                       .advice = "leave out the letter of an axis that is not split"});
  }
}

int Topology::size_along(Axis axis) const {
  return along({degrees_.pipe, degrees_.data, degrees_.tensor}, axis);
}

int Topology::rank(const Coordinate& at) const {
  int rank = 0;
  for (Axis axis : kAxes) {
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
  at.data = rank % degrees_.data;
  at.pipe = rank / degrees_.data;
  return at;
}

std::vector<std::vector<int>> Topology::groups_along(Axis axis) const {
  // Ranks are row-major, so the group starts (index 0 on `axis`) come in row-major order of the
  // other axes, and the members of a group are a fixed stride apart.
  int stride = 1;
  bool inside = false;
  for (Axis other : kAxes) {
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

std::vector<int> Topology::dp_heads() const {
  std::vector<int> heads;
  for (int d = 0; d < degrees_.data; ++d) heads.push_back(rank(degrees_.pipe - 1, d, 0));
  return heads;
}

bool Topology::is_dp_head(int rank) const {
  const Coordinate at = coordinate(rank);
  return at.pipe == degrees_.pipe - 1 && at.tensor == 0;
}

Topology topology_of(const Layout& layout) {
  return Topology({.pipe = layout.pipe, .data = layout.data, .tensor = layout.tensor});
}

}  // namespace orrery::graph
