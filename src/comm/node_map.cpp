#include "orrery/comm/node_map.h"

#include <algorithm>  // stable_sort
#include <array>
#include <map>
#include <numeric>  // iota

#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/comm/mpi_handle.h"

namespace orrery::comm {

int NodeMap::local_worker(int worker) const {
  const auto end = node_of_worker.begin() + worker;
  return static_cast<int>(
      std::count(node_of_worker.begin(), end, node_of_worker.at(base::index(worker))));
}

NodeMap number_workers(const std::vector<int>& leader_of_rank,
                       const std::vector<std::string>& hosts) {
  ORRERY_ASSERT(leader_of_rank.size() == hosts.size(), "one leader and one host per rank");
  NodeMap map;
  std::map<int, int> node_of_leader;
  std::vector<int> n_on_node;
  for (std::size_t rank = 0; rank < leader_of_rank.size(); ++rank) {
    const auto [place, is_new] =
        node_of_leader.emplace(leader_of_rank[rank], static_cast<int>(map.host_of_node.size()));
    if (is_new) {
      map.host_of_node.push_back(hosts[rank]);
      n_on_node.push_back(0);
    }
    map.node_of_rank.push_back(place->second);
    map.local_rank_of_rank.push_back(n_on_node[static_cast<std::size_t>(place->second)]++);
  }

  const std::size_t n_ranks = leader_of_rank.size();
  if (n_ranks == 0) return map;
  map.rank_of_worker.resize(n_ranks - 1);
  std::iota(map.rank_of_worker.begin(), map.rank_of_worker.end(), 1);  // rank 0 is the master
  std::stable_sort(map.rank_of_worker.begin(), map.rank_of_worker.end(), [&](int a, int b) {
    return map.node_of_rank[base::index(a)] < map.node_of_rank[base::index(b)];
  });
  map.worker_of_rank.assign(n_ranks, -1);
  for (std::size_t worker = 0; worker < map.rank_of_worker.size(); ++worker) {
    const auto rank = static_cast<std::size_t>(map.rank_of_worker[worker]);
    map.worker_of_rank[rank] = static_cast<int>(worker);
    map.node_of_worker.push_back(map.node_of_rank[rank]);
  }
  return map;
}

NodeMap map_nodes(MPI_Comm world) {
  int rank = 0;
  int size = 1;
  ORRERY_MPI(MPI_Comm_rank(world, &rank));
  ORRERY_MPI(MPI_Comm_size(world, &size));

  MPI_Comm raw = MPI_COMM_NULL;
  ORRERY_MPI(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &raw));
  const UniqueMpiComm node(raw);
  int leader = rank;
  ORRERY_MPI(MPI_Allreduce(MPI_IN_PLACE, &leader, 1, MPI_INT, MPI_MIN, node.get()));

  struct Place {
    int leader;
    char host[MPI_MAX_PROCESSOR_NAME];
  };
  Place mine{.leader = leader, .host = ""};
  int length = 0;
  ORRERY_MPI(MPI_Get_processor_name(mine.host, &length));
  std::vector<Place> places(static_cast<std::size_t>(size));
  ORRERY_MPI(
      MPI_Allgather(&mine, sizeof(Place), MPI_BYTE, places.data(), sizeof(Place), MPI_BYTE, world));

  std::vector<int> leaders;
  std::vector<std::string> hosts;
  for (const Place& place : places) {
    leaders.push_back(place.leader);
    hosts.emplace_back(place.host);
  }
  return number_workers(leaders, hosts);
}

}  // namespace orrery::comm
