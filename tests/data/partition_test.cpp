// Rules of the partitions, and the fast first fit against its definition written out.
#include "orrery/data/partition.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "orrery/base/error.h"

namespace orrery::data {
namespace {

using Groups = std::vector<std::vector<int>>;

/// The definition of ffd_allocate, step by step: O(n * groups * log groups).
Groups first_fit_by_definition(const std::vector<int64_t>& values, const FfdLimits& limits) {
  std::vector<int> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return values[static_cast<size_t>(a)] > values[static_cast<size_t>(b)];
  });
  Groups groups;
  std::vector<int64_t> sums;
  for (const int index : order) {
    const int64_t value = values[static_cast<size_t>(index)];
    std::vector<int> by_sum(groups.size());
    std::iota(by_sum.begin(), by_sum.end(), 0);
    std::stable_sort(by_sum.begin(), by_sum.end(), [&](int a, int b) {
      return sums[static_cast<size_t>(a)] < sums[static_cast<size_t>(b)];
    });
    int chosen = -1;
    for (const int group : by_sum) {
      if (sums[static_cast<size_t>(group)] + value > limits.capacity) continue;
      if (chosen < 0 ||
          groups[static_cast<size_t>(group)].size() < groups[static_cast<size_t>(chosen)].size()) {
        chosen = group;
      }
    }
    if (static_cast<int>(groups.size()) < limits.min_groups || chosen < 0) {
      groups.push_back({index});
      sums.push_back(value);
    } else {
      groups[static_cast<size_t>(chosen)].push_back(index);
      sums[static_cast<size_t>(chosen)] += value;
    }
  }
  return groups;
}

TEST(FfdAllocate, AgreesWithItsDefinitionOnRandomValues) {
  std::mt19937 random(20240607);
  int n_tight = 0;
  for (int round = 0; round < 3000; ++round) {
    const int n = 1 + static_cast<int>(random() % 60);
    const int64_t largest_value = 1 + static_cast<int64_t>(random() % 30);
    std::vector<int64_t> values(static_cast<size_t>(n));
    for (int64_t& value : values) value = static_cast<int64_t>(random()) % (largest_value + 1);
    // From "every item alone" to "no limit", so that groups fill up, close and open again.
    const int64_t capacity =
        round % 4 == 0 ? kNoCapacity
                       : largest_value + static_cast<int64_t>(random() % (3 * largest_value + 1));
    const FfdLimits limits{.capacity = capacity,
                           .min_groups = 1 + static_cast<int>(random() % 7) % n};

    const FfdResult result = ffd_allocate(values, limits);

    const Groups expected = first_fit_by_definition(values, limits);
    ASSERT_EQ(result.groups, expected) << "round " << round;
    n_tight += static_cast<int>(result.groups.size()) > limits.min_groups;
  }
  EXPECT_GT(n_tight, 500) << "the capacity must have mattered often";
}

TEST(FfdAllocate, NamesTheSampleThatFitsNowhere) {
  const std::vector<int64_t> values = {3, 12};
  try {
    ffd_allocate(values, {.capacity = 10, .min_groups = 1});
    FAIL() << "12 must not fit into 10";
  } catch (const CallError& error) {
    EXPECT_NE(std::string(error.what()).find("sample 1"), std::string::npos) << error.what();
  }
}

TEST(FfdAllocate, WithoutValuesAndGroupsIsEmpty) {
  EXPECT_TRUE(ffd_allocate({}, {.capacity = 10, .min_groups = 0}).groups.empty());
  EXPECT_THROW(ffd_allocate({}, {.capacity = 10, .min_groups = 1}), CallError);
}

BatchMetadata batch_with(const std::vector<int32_t>& lengths) {
  BatchMetadata batch;
  for (size_t i = 0; i < lengths.size(); ++i) batch.ids.push_back({i});
  batch.keys.push_back({"tokens", DType::kI64, {}, NestedLengths::of_single(lengths)});
  return batch;
}

TEST(DispatchSplit, OfGenerationIsInterleaved) {
  const DispatchSplit split = split_generation(batch_with({9, 1, 1, 1, 5}), 2);

  EXPECT_EQ(split.groups, (Groups{{0, 2, 4}, {1, 3}}));
  EXPECT_EQ(split.tokens, (std::vector<int64_t>{15, 2}));
}

TEST(DispatchSplit, GivesEachSampleToOneRankAndNoRankNothing) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const int n_ranks = 1 + static_cast<int>(random() % 9);
    const int n = n_ranks + static_cast<int>(random() % 40);
    std::vector<int32_t> lengths(static_cast<size_t>(n));
    for (int32_t& length : lengths) length = static_cast<int32_t>(random() % 50);

    const DispatchSplit split = split_by_tokens(batch_with(lengths), n_ranks);

    std::vector<int> all;
    for (const std::vector<int>& group : split.groups) {
      EXPECT_FALSE(group.empty());
      EXPECT_TRUE(std::is_sorted(group.begin(), group.end()));
      all.insert(all.end(), group.begin(), group.end());
    }
    std::sort(all.begin(), all.end());
    std::vector<int> expected(static_cast<size_t>(n));
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(static_cast<int>(split.groups.size()), n_ranks);
    EXPECT_EQ(all, expected);
  }
}

TEST(DispatchSplit, RefusesFewerSamplesThanRanks) {
  EXPECT_THROW(split_generation(batch_with({4, 4}), 3), CallError);
  EXPECT_THROW(split_by_tokens(batch_with({4, 4}), 3), CallError);
}

TEST(DispatchSplit, RefusesABatchWithoutKeys) {
  EXPECT_THROW(split_by_tokens(BatchMetadata{}, 1), CallError);
}

TEST(TokenSplit, BackwardUndoesForward) {
  const std::vector<int64_t> weights = {5, 1, 4, 2, 3};

  const TokenSplit split = plan_token_split(weights, {.min_parts = 2, .max_tokens = 8});

  for (size_t i = 0; i < weights.size(); ++i) {
    EXPECT_EQ(split.forward[static_cast<size_t>(split.backward[i])], static_cast<int>(i));
  }
  for (const std::vector<int>& part : split.parts) {
    int64_t sum = 0;
    for (const int index : part) sum += weights[static_cast<size_t>(index)];
    EXPECT_LE(sum, 8);
  }
}

TEST(PartitionBalanced, RefusesImpossibleSegments) {
  const std::vector<int64_t> values = {1, 2, 3};
  EXPECT_THROW(min_abs_diff_partition(values, {.n_segments = 0, .min_size = 1}), CallError);
  EXPECT_THROW(min_abs_diff_partition(values, {.n_segments = 4, .min_size = 1}), CallError);
  EXPECT_THROW(min_abs_diff_partition(values, {.n_segments = 2, .min_size = 2}), CallError);
}

TEST(BalancedBatchesOfSequences, RefuseBatchesWithoutRoom) {
  const std::vector<int64_t> lengths = {1};
  EXPECT_THROW(reorder_to_balanced_batches(lengths, 0), CallError);
  EXPECT_TRUE(reorder_to_balanced_batches({}, 4).order.empty());
}

}  // namespace
}  // namespace orrery::data
