// How work is divided: what decides that results do not depend on the number of data ranks.
#include <gtest/gtest.h>

#include "model_shard.h"
#include "score.h"

namespace orrery::cli {
namespace {

TEST(PlanScorePieces, KeepsTheOrderAndTheLimit) {
  EXPECT_EQ(plan_score_pieces(std::vector<int64_t>{3, 3, 3, 9, 1}, 6),
            (std::vector<ScorePiece>{{0, 1, 3}, {1, 2, 3}, {2, 3, 3}, {3, 4, 9}, {4, 5, 1}}))
      << "19 tokens make sixteen pieces of at most 2";
  const std::vector<int64_t> many(1000, 10);
  const std::vector<ScorePiece> pieces = plan_score_pieces(many, 100);
  EXPECT_EQ(pieces.size(), 100u);
  EXPECT_EQ(pieces.back(), (ScorePiece{990, 1000, 100}));
}

TEST(PlanScorePieces, OfNothingIsNothing) {
  EXPECT_TRUE(plan_score_pieces(std::vector<int64_t>{}, 6).empty());
}

TEST(AssignPieces, BalancesAndUsesEveryDataRank) {
  EXPECT_EQ(assign_pieces(std::vector<int64_t>{5, 1, 4, 2}, 2), (std::vector<int>{0, 0, 1, 1}));
  EXPECT_EQ(assign_pieces(std::vector<int64_t>{7}, 3), (std::vector<int>{0}));
}

}  // namespace
}  // namespace orrery::cli
