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

TEST(TokenSplit, KeepsEachMicroBatchWithinTheBudget) {
  const std::vector<int64_t> weights = {5, 1, 4, 2, 3};

  const Groups parts = plan_token_split(weights, {.min_parts = 2, .max_tokens = 8});

  std::vector<int> all;
  for (const std::vector<int>& part : parts) {
    int64_t sum = 0;
    for (const int index : part) sum += weights[static_cast<size_t>(index)];
    EXPECT_LE(sum, 8);
    all.insert(all.end(), part.begin(), part.end());
  }
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, (std::vector<int>{0, 1, 2, 3, 4}));
}

}  // namespace
}  // namespace orrery::data
