// All communicators of a worker, made once at start-up from a plan that is the same everywhere, and
// looked up by what they are for. Nothing is created mid-run, so there is no hidden collective.
// Lives on the worker's main thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/comm/communicator.h"
#include "orrery/graph/communicators.h"  // CommunicatorPlan: which groups, in which order
#include "orrery/graph/replica.h"

namespace orrery::comm {

class CommunicatorRegistry {
 public:
  /// Makes the groups of `plan` by its splits, in its order, and opens the connections between all
  /// workers. Collective over `workers`, whose rank is the worker index; all pass an equal plan.
  /// Throws CallError when the plan is for another number of workers, CommError at the deadline.
  static CommunicatorRegistry create(std::unique_ptr<Communicator> workers,
                                     const graph::CommunicatorPlan& plan);

  /// All workers.
  Communicator& workers() const { return *owned_.front(); }

  /// The group of this kind that this worker belongs to, or null when it holds no shard of the
  /// replica (embedding: or an inner stage). Equal groups are one object. Local.
  Communicator* find(const graph::ReplicaId& replica, graph::GroupKind kind) const;
  /// Like find(), for callers that know that they hold a shard. Throws CallError. Local.
  Communicator& at(const graph::ReplicaId& replica, graph::GroupKind kind) const;
  /// Communicator::throw_if_failed() of every group of this worker. Local.
  void throw_if_failed() const;
  /// Runs `work`; throws the error of an operation that failed meanwhile, if one did, whatever came
  /// of the numbers that it left behind. Local.
  void run_checked(const std::function<void()>& work) const;

 private:
  CommunicatorRegistry() = default;

  std::vector<std::unique_ptr<Communicator>> owned_;             // [0]: all workers
  std::map<std::string, Communicator*, std::less<>> by_family_;  // `actor.0/tensor`
};

}  // namespace orrery::comm
