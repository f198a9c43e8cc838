#include "orrery/algorithm/minibatches.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "orrery/base/error.h"

namespace orrery::algorithm {
namespace {

TEST(MinibatchOrder, IsAPermutationThatEveryNumberOfItsKeyChanges) {
  const MinibatchKey key{.seed = 1, .step = 2, .reuse = 0, .data_rank = 3};
  std::vector<int> sorted = minibatch_order(key, 50);
  std::sort(sorted.begin(), sorted.end());
  std::vector<int> all(50);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(sorted, all);

  std::set<std::vector<int>> orders;
  for (const MinibatchKey& other : {key, MinibatchKey{2, 2, 0, 3}, MinibatchKey{1, 3, 0, 3},
                                    MinibatchKey{1, 2, 1, 3}, MinibatchKey{1, 2, 0, 4}}) {
    orders.insert(minibatch_order(other, 50));
  }
  EXPECT_EQ(orders.size(), 5u);
  EXPECT_EQ(minibatch_order(key, 50), minibatch_order(key, 50));
  EXPECT_TRUE(minibatch_order(key, 0).empty());
}

TEST(CutMinibatches, GivesConsecutivePiecesTheFirstOnesLonger) {
  EXPECT_EQ(cut_minibatches({4, 2, 0, 1, 3}, 3),
            (std::vector<std::vector<int>>{{4, 2}, {0, 1}, {3}}));
  EXPECT_EQ(cut_minibatches({1, 0}, 3), (std::vector<std::vector<int>>{{1}, {0}, {}}));
}

TEST(BySequence, MakesEveryMemberOfAGroupASample) {
  data::SequenceBatch batch;
  batch.meta.ids = {{7}, {8}};
  batch.set("packed_input_ids", at::arange(6, at::kLong), {{2, 1}, {3}});
  batch.set("rewards", at::arange(3, at::kFloat), {{1, 1}, {1}});

  const data::SequenceBatch got = by_sequence(batch);

  EXPECT_EQ(got.size(), 3u);
  EXPECT_EQ(got.meta.at("packed_input_ids").lengths, (data::NestedLengths{{2}, {1}, {3}}));
  const data::SequenceBatch second = got.select_samples(std::vector<int>{1});
  EXPECT_TRUE(at::equal(second.at("packed_input_ids"), at::tensor({2}, at::kLong)));
  EXPECT_TRUE(at::equal(second.at("rewards"), at::tensor({1.F})));
}

TEST(BySequence, RefusesAKeyWithAnEntryForEachSampleOnly) {
  data::SequenceBatch batch;
  batch.meta.ids = {{7}};
  batch.set("packed_input_ids", at::arange(3, at::kLong), {{2, 1}});
  batch.set("answers", at::arange(2, at::kByte), {{2}});

  EXPECT_THROW(by_sequence(batch), ShapeError);
}

}  // namespace
}  // namespace orrery::algorithm
