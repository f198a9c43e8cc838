// Replicas: the distinct layouts in which a role's parameters exist, and what must happen to them
// before and after each call so that every call sees its role's current parameters. The hooks
// follow from the graph alone; whether one is really sent (a replica may already be current) is the
// master's decision at run time. Pure; any rank, any thread.
#pragma once

#include <set>
#include <string>
#include <variant>
#include <vector>

#include "orrery/graph/graph.h"
#include "orrery/graph/layout.h"

namespace orrery::graph {

struct ReplicaId {
  std::string role = {};
  int index = 0;  ///< 0: the trained one, or the first
  auto operator<=>(const ReplicaId&) const = default;
  /// `actor.1`
  std::string text() const;
};

/// How the parameters of a replica come into being.
enum class Origin {
  kNone,     ///< the role has no parameters
  kLoad,     ///< read from the role's origin (files, or the random start) at start-up
  kRealloc,  ///< filled from replica 0 of its role before each use that finds it outdated
};

struct Replica {
  ReplicaId id = {};
  Layout layout = {};
  Origin origin = Origin::kLoad;
  bool is_trained = false;      ///< a train_step runs on it
  std::vector<int> calls = {};  ///< calls that run on it, ascending
};

/// Whether a role's parameters change during the run: it is trained or another role's follow it.
bool is_updated(const Graph& graph, const std::string& role);

/// All replicas: by role in graph order, then by index.
std::vector<Replica> replicas_of(const Graph& graph);

/// Copy parameters between two replicas, of one role or of two: dst = eta·src + (1−eta)·dst.
struct ParamRealloc {
  ReplicaId from, to;
  double eta = 1;
  bool operator==(const ParamRealloc&) const = default;
};
/// Device -> host; brought back before the next use.
struct Offload {
  ReplicaId replica;
  bool operator==(const Offload&) const = default;
};
/// Free the parameters; the next use fills them again. The master leaves it out while another call
/// of the step still needs the replica at the same version.
struct Release {
  ReplicaId replica;
  bool operator==(const Release&) const = default;
};
/// The optimizer's state of a trained replica: device -> host; brought back before the next
/// train_step.
struct OffloadOptimizer {
  ReplicaId replica;
  bool operator==(const OffloadOptimizer&) const = default;
};
using ResolvedHook = std::variant<ParamRealloc, Offload, Release, OffloadOptimizer>;

/// Parameter hooks of one call, in the order in which they run.
struct CallHooks {
  std::vector<ResolvedHook> pre;
  std::vector<ResolvedHook> post;
};

/// What memory asks for; empty by default.
struct ResidencyPolicy {
  /// Roles whose replicas are on the host but while a call of theirs runs, if nothing ever changes
  /// their parameters.
  std::set<std::string> offload_when_idle = {};
  /// Roles whose optimizer's state is on the host but while their train_step runs.
  std::set<std::string> offload_optimizer = {};
};

/// Parameter hooks of a call:
///  - pre: realloc from replica 0 when the role's parameters change during the run (it is trained,
///    or another role's post_realloc leads to it) and the call runs on another replica;
///  - post: realloc to replica 0 of `post_realloc` with eta; then release of a replica that is
///    refilled anyway, or offload of one that never changes, or after a train_step of the
///    optimizer's state, if the policy names its role.
CallHooks hooks_of(const Graph& graph, int call, const ResidencyPolicy& policy = {});

}  // namespace orrery::graph
