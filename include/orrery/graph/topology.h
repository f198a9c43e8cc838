// Arithmetic of the three parallel axes: rank <-> coordinate, groups along an axis, neighbours of a
// pipeline stage, data-parallel heads. Pure; any rank, any thread.
//
// Orrery itself numbers ranks pipe, data, tensor (tensor fastest). The second order, data before
// pipe, exists because parameter and data plans of other systems are written in it.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/graph/layout.h"

namespace orrery::graph {

enum class Axis { kPipe, kData, kTensor };
enum class AxisOrder { kPipeDataTensor, kDataPipeTensor };

/// `pipe`, `data` or `tensor`.
std::string_view name_of(Axis axis);

/// Axis of that name, or nothing.
std::optional<Axis> axis_named(std::string_view name);

/// The order with exactly these axis names, or nothing: only two orders exist.
std::optional<AxisOrder> axis_order_named(const std::vector<std::string>& axes);

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

/// A coordinate of which some axes may be left open.
struct CoordinateFilter {
  std::optional<int> pipe = {};
  std::optional<int> data = {};
  std::optional<int> tensor = {};
};

/// Two ranks that are neighbours along the pipe axis.
struct RankPair {
  int from = 0;
  int to = 0;
  bool operator==(const RankPair&) const = default;
};

class Topology {
 public:
  /// Throws ConfigError when a degree is below 1.
  explicit Topology(Degrees degrees, AxisOrder order = AxisOrder::kPipeDataTensor);
  Topology(int pipe, int data, int tensor) : Topology(Degrees{pipe, data, tensor}) {}

  const Degrees& degrees() const { return degrees_; }
  AxisOrder order() const { return order_; }
  /// The axes, slowest first.
  std::array<Axis, 3> axes() const;
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
  /// Ranks that agree with every axis the filter names, ascending.
  std::vector<int> matching(const CoordinateFilter& filter) const;
  /// [data] rank whose reply counts for that data rank: last pipeline stage, tensor rank 0.
  std::vector<int> dp_heads() const;
  bool is_dp_head(int rank) const;
  /// [size] each rank with the one at the next pipeline stage; the last stage leads to the first.
  std::vector<RankPair> p2p_pairs() const;

  /// `pipe_0-data_1-tensor_0` for the axes asked for; numbers padded to the digits of size().
  std::string rank_text(int rank, const std::vector<Axis>& which) const;

  /// Axis order and degrees are the same.
  bool operator==(const Topology&) const = default;

 private:
  Degrees degrees_;
  AxisOrder order_;
};

/// The topology of a layout's shards.
Topology topology_of(const Layout& layout);

/// Text that names one shard of a replica among all of a job; throws ConfigError when the
/// coordinate is outside the topology or the role contains `@`, which separates the parts.
std::string shard_name(std::string_view role, int replica, const Topology& topology,
                       const Coordinate& at);

/// All ordered triples (a, b, c) with a * b * c == n, in lexicographic order; n >= 1.
std::vector<std::array<int, 3>> three_factors(int n);

/// Prime factors with multiplicity, ascending; empty for 1.
std::vector<int> prime_factors(int n);

}  // namespace orrery::graph
