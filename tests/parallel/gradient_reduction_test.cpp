#include "orrery/parallel/gradient_reduction.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/thread_communicator.h"

namespace orrery::parallel {
namespace {

TEST(ReduceToOwners, GivesEachRankItsStretchOfTheSumWhateverTheBuckets) {
  for (const int n_ranks : {1, 2, 3, 4}) {
    for (const int64_t bucket : {1, 4, 10, 11, 100}) {
      SCOPED_TRACE(testing::Message() << n_ranks << " ranks, buckets of " << bucket);
      comm::run_as_threads(n_ranks, [&](comm::Communicator& group) {
        const at::Tensor gradients = at::arange(10, at::kDouble) * (group.rank() + 1);

        const at::Tensor owned = reduce_to_owners(gradients, group, bucket);

        const model::IndexRange partition = owned_partition(10, group.rank(), n_ranks);
        const int sum = n_ranks * (n_ranks + 1) / 2;
        EXPECT_TRUE(at::equal(
            owned, at::arange(10, at::kDouble).narrow(0, partition.first, partition.count) * sum));
      });
    }
  }
}

TEST(GatherFromOwners, GivesAllRanksWhatEachHasChanged) {
  for (const int n_ranks : {1, 2, 3, 4, 7}) {
    for (const int64_t bucket : {1, 4, 100}) {
      comm::run_as_threads(n_ranks, [&](comm::Communicator& group) {
        const at::Tensor values = at::zeros({10}, at::kDouble);
        const model::IndexRange partition = owned_partition(10, group.rank(), n_ranks);
        values.narrow(0, partition.first, partition.count)
            .copy_(at::arange(partition.first, partition.end(), at::kDouble));

        gather_from_owners(values, group, bucket);

        EXPECT_TRUE(at::equal(values, at::arange(10, at::kDouble)));
      });
    }
  }
}

TEST(OwnedStretch, CutsABufferThatDoesNotDivide) {
  EXPECT_EQ(owned_partition(10, 0, 4), (model::IndexRange{0, 3}));
  EXPECT_EQ(owned_partition(10, 3, 4), (model::IndexRange{9, 1}));
  EXPECT_EQ(owned_partition(2, 3, 4), (model::IndexRange{2, 0}));
}

TEST(ClipScale, LimitsTheNormAndIsOneBelowIt) {
  EXPECT_DOUBLE_EQ(clip_scale(4, 1), 0.25);
  EXPECT_DOUBLE_EQ(clip_scale(0.5, 1), 1);
  EXPECT_DOUBLE_EQ(clip_scale(1, 1), 1);
  EXPECT_DOUBLE_EQ(clip_scale(4, 0), 1);  // no limit
  EXPECT_DOUBLE_EQ(clip_scale(0, 1), 1);
}

}  // namespace
}  // namespace orrery::parallel
