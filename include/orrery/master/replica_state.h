// Which parameters are where: for each replica a version and a residence, from which follows the
// hooks that a call really needs now. A replica that is current is not filled again, one that lies
// on the host is fetched before it is used or sent and goes back after that, and one is released
// only after its last use in the step. Pure bookkeeping; main thread of the master.
//
// Requests run in the order in which they are dispatched, so the state after a dispatch may be
// noted at once. The exception are the pre-hooks of one flush, which all run before its main work:
// see must_flush_before().
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "orrery/comm/message.h"  // Hook
#include "orrery/graph/graph.h"
#include "orrery/graph/replica.h"

namespace orrery::master {

enum class Residence { kAbsent, kHost, kDevice };

/// How much memory parameters take. 0 = not known, no limit.
struct MemoryLimits {
  std::map<graph::ReplicaId, int64_t> shard_bytes;  ///< of the largest shard of a replica
  int64_t worker_bytes = 0;                         ///< for parameters, on each worker
};

/// A hook and the workers that take part in it.
struct PlacedHook {
  comm::Hook hook;
  std::vector<int> workers;
};

struct ParameterHooks {
  std::vector<PlacedHook> pre;
  std::vector<PlacedHook> post;
};

class ReplicaState {
 public:
  ReplicaState(const graph::Graph& graph, const graph::ResidencyPolicy& policy,
               MemoryLimits memory);

  /// All runs of all calls are to come again.
  void begin_step();
  /// What was dispatched so far is closed by a flush.
  void begin_flush();

  /// Whether `call` may not join what was dispatched since the last flush: its pre-hooks would copy
  /// parameters that a train_step of this flush is about to change, or more replicas would be on
  /// the device at once than memory holds.
  bool must_flush_before(int call) const;

  /// Hooks of one run of `call` that is dispatched now; notes what they and the call do.
  ParameterHooks dispatch(int call);

  int64_t version(const graph::ReplicaId& id) const { return find(id).version; }
  Residence residence(const graph::ReplicaId& id) const { return find(id).residence; }

  /// Version of each role's replica 0, for checkpoints.
  std::map<std::string, int64_t> role_versions() const;
  /// After a resume: the roles' versions; replicas that are filled from them are empty.
  void restore(const std::map<std::string, int64_t>& role_versions);

 private:
  struct State {
    graph::Replica replica;
    int64_t version = 0;
    Residence residence = Residence::kDevice;
    bool released_when_idle = false;
    bool offloaded_when_idle = false;
    bool optimizer_is_offloaded = false;  // outside its train_steps
    int64_t uses_left = 0;          // runs of calls on it that this step has still to dispatch
    bool changes_in_flush = false;  // trained or overwritten by something of this flush
    bool held_in_flush = true;      // on the device at some time of this flush
  };

  const State& find(const graph::ReplicaId& id) const;
  State& find(const graph::ReplicaId& id);
  bool is_current(const graph::ParamRealloc& realloc) const;
  void fetch(State& state, std::vector<PlacedHook>& hooks);
  bool fits(const std::vector<const State*>& wanted) const;

  const graph::Graph* graph_;
  MemoryLimits memory_;
  std::vector<graph::CallHooks> hooks_;  // by call
  std::map<graph::ReplicaId, State> states_;
};

}  // namespace orrery::master
