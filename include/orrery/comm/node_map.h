// Which rank runs on which node, and which worker it is. Workers are numbered by (node, local rank)
// over all ranks but the master, so that neighbouring numbers share a node however the launcher
// placed the ranks, and tensor groups stay inside nodes. All ranks compute the same map.
#pragma once

#include <mpi.h>

#include <string>
#include <vector>

namespace orrery::comm {

struct NodeMap {
  std::vector<int> node_of_rank;        ///< [n_ranks] nodes are counted by their smallest rank
  std::vector<int> local_rank_of_rank;  ///< [n_ranks] place on its node
  std::vector<std::string> host_of_node;

  std::vector<int> rank_of_worker;  ///< [n_workers] world rank
  std::vector<int> worker_of_rank;  ///< [n_ranks] -1: the master
  std::vector<int> node_of_worker;  ///< [n_workers]

  int n_workers() const { return static_cast<int>(rank_of_worker.size()); }
  int n_nodes() const { return static_cast<int>(host_of_node.size()); }
  /// Place of a worker on its node among the workers there: the GPU it takes.
  int local_worker(int worker) const;
};

/// Numbers the workers. Rank 0 is the master.
///   leader_of_rank  [n_ranks] smallest rank on the same node
///   hosts           [n_ranks]
/// Pure.
NodeMap number_workers(const std::vector<int>& leader_of_rank,
                       const std::vector<std::string>& hosts);

/// Finds out who shares memory with whom. Collective over `world`.
NodeMap map_nodes(MPI_Comm world);

}  // namespace orrery::comm
