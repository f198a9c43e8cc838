#include "orrery/comm/node_map.h"

#include <gtest/gtest.h>

namespace orrery::comm {
namespace {

using Ints = std::vector<int>;

TEST(NodeMap, NumbersWorkersByNodeThenLocalRankWhateverThePlacement) {
  // Ranks dealt out to two nodes in turn, as launchers do by default on some machines.
  const NodeMap map = number_workers({0, 1, 0, 1, 0}, {"n1", "n2", "n1", "n2", "n1"});

  EXPECT_EQ(map.node_of_rank, (Ints{0, 1, 0, 1, 0}));
  EXPECT_EQ(map.local_rank_of_rank, (Ints{0, 0, 1, 1, 2}));
  EXPECT_EQ(map.rank_of_worker, (Ints{2, 4, 1, 3}));
  EXPECT_EQ(map.worker_of_rank, (Ints{-1, 2, 0, 3, 1}));
  EXPECT_EQ(map.node_of_worker, (Ints{0, 0, 1, 1}));
  EXPECT_EQ(map.n_workers(), 4);
  EXPECT_EQ(map.n_nodes(), 2);
  EXPECT_EQ(map.host_of_node, (std::vector<std::string>{"n1", "n2"}));
}

TEST(NodeMap, CountsWorkersOfANodeFromZeroSoThatEachTakesItsGpu) {
  const NodeMap map = number_workers({0, 0, 0, 3, 3}, {"n1", "n1", "n1", "n2", "n2"});
  EXPECT_EQ(map.local_worker(0), 0);
  EXPECT_EQ(map.local_worker(1), 1);
  EXPECT_EQ(map.local_worker(2), 0);
  EXPECT_EQ(map.local_worker(3), 1);
}

TEST(NodeMap, HasNoWorkersWhenTheMasterIsAlone) {
  EXPECT_EQ(number_workers({0}, {"n1"}).n_workers(), 0);
}

}  // namespace
}  // namespace orrery::comm
