// Where a replica of a model lives: its three degrees of parallelism and the workers that hold the
// shards, in the text form users write (`d2t2p1@0-3`) and as numbers. Pure; any rank, any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace orrery::graph {

/// A model worker. Workers are counted in (node, local rank) order of all MPI ranks but the master.
struct WorkerId {
  int value = 0;  ///< MPI rank − 1 when ranks are placed by node
  auto operator<=>(const WorkerId&) const = default;
};

/// Degrees of parallelism and the workers used. Example: `d2t2p1@0-3`.
/// Invariant after parse(): workers.size() == size(), all different, none negative.
struct Layout {
  int data = 1;
  int tensor = 1;
  int pipe = 1;
  /// [pipe * data * tensor] worker of rank (pipe * D + data) * T + tensor
  std::vector<int> workers = {};

  /// Number of shards, pipe * data * tensor.
  int size() const { return data * tensor * pipe; }

  /// Canonical text: all three letters, consecutive workers as ranges. parse(text()) is equal.
  std::string text() const;

  /// Reads the text form: letters d, t, p in any order, each at most once, a missing one is 1;
  /// after `@` workers and ranges separated by commas, in rank order; without `@` workers 0..n-1.
  /// Throws ConfigError (exit 2) with every problem of the text. Local.
  static Layout parse(std::string_view text);

  bool operator==(const Layout&) const = default;
};

/// A layout as far as it could be read, with every mistake found.
struct ParsedLayout {
  Layout layout;
  std::vector<std::string> problems;  ///< sentences without file and line; empty: layout is valid
};

/// Like Layout::parse, but returns the problems, so that they can be reported with others. Local.
ParsedLayout parse_layout(std::string_view text);

/// What keeps `layout` from being placed on workers 0..n_workers-1: one sentence each. Local.
std::vector<std::string> placement_problems(const Layout& layout, int n_workers);

/// Data parallelism over all of 0..n_workers-1: the layout of calls for which none is written.
Layout default_layout(int n_workers);

/// `0-2,5`: workers in their given order, ascending runs joined.
std::string workers_text(const std::vector<int>& workers);

}  // namespace orrery::graph
