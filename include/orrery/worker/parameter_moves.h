// Parameter hooks of requests: parameters move between replicas, and replicas that will be filled
// again give their memory back. Lives on the worker's main thread.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "orrery/comm/communicator.h"
#include "orrery/comm/message.h"
#include "orrery/graph/replica.h"
#include "orrery/parallel/reallocation_plan.h"
#include "orrery/worker/hosted_models.h"

namespace orrery::worker {

class ParameterMoves {
 public:
  /// `models` and `workers` (all workers) must outlive it.
  ///   node_of_worker  [workers] for the choice of senders
  ParameterMoves(std::vector<graph::Replica> replicas, std::vector<int> node_of_worker,
                 HostedModels& models, comm::Communicator& workers);

  /// Collective over the workers of both replicas. Throws CallError for a replica that does not
  /// exist.
  void run(const comm::ReallocHook& hook);

  /// Release: the replica's memory goes back to the system. The host is where parameters are on a
  /// CPU, so there what offloads and fetches has nothing to do. Local.
  void run(const comm::ResidencyHook& hook);

 private:
  const graph::Replica& find(const std::string& role, int index) const;
  const parallel::ReallocationPlan& plan_between(const graph::Replica& from,
                                                 const graph::Replica& to,
                                                 const model::Architecture& architecture);

  std::vector<graph::Replica> replicas_;
  std::vector<int> node_of_worker_;
  HostedModels& models_;
  comm::Communicator& workers_;
  std::map<std::string, parallel::ReallocationPlan> plans_;  // `actor.0 -> actor.1`
};

}  // namespace orrery::worker
