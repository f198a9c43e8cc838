// Arithmetic of the three parallel axes: rank <-> coordinate, groups along an axis, data-parallel
// heads. Ranks are numbered pipe, data, tensor (tensor fastest). Pure; any rank, any thread.
#pragma once

#include <string_view>
#include <vector>

#include "orrery/graph/layout.h"

namespace orrery::graph {

enum class Axis { kPipe, kData, kTensor };

/// `pipe`, `data` or `tensor`.
std::string_view name_of(Axis axis);

/// Number of shards along each axis.
struct Degrees {
  int pipe = 1;
  int data = 1;
  int tensor = 1;
  bool operator==(const Degrees&) const = default;
};

/// Place of one shard.
struct Coordinate {
  int pipe = 0;
  int data = 0;
  int tensor = 0;
  bool operator==(const Coordinate&) const = default;
};

class Topology {
 public:
  /// Throws ConfigError when a degree is below 1.
  explicit Topology(Degrees degrees);
  Topology(int pipe, int data, int tensor) : Topology(Degrees{pipe, data, tensor}) {}

  const Degrees& degrees() const { return degrees_; }
  int size() const { return degrees_.pipe * degrees_.data * degrees_.tensor; }
  int size_along(Axis axis) const;

  /// Throws ConfigError when the coordinate is outside the degrees.
  int rank(const Coordinate& at) const;
  int rank(int pipe, int data, int tensor) const { return rank(Coordinate{pipe, data, tensor}); }
  /// Throws ConfigError when rank is not in [0, size()).
  Coordinate coordinate(int rank) const;

  /// For every combination of the other two axes, row-major: the ranks along `axis`.
  std::vector<std::vector<int>> groups_along(Axis axis) const;
  /// Ranks whose coordinate on `axis` is `index`, ascending; empty when there is none.
  std::vector<int> ranks_at(Axis axis, int index) const;
  /// [data] rank whose reply counts for that data rank: last pipeline stage, tensor rank 0.
  std::vector<int> dp_heads() const;
  bool is_dp_head(int rank) const;

  bool operator==(const Topology&) const = default;

 private:
  Degrees degrees_;
};

/// The topology of a layout's shards.
Topology topology_of(const Layout& layout);

}  // namespace orrery::graph
