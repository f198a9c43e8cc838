#include "orrery/parallel/gradient_reduction.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "orrery/comm/thread_communicator.h"

namespace orrery::parallel {
namespace {

TEST(SumGradients, AddsEveryElementWhateverTheBuckets) {
  for (const int n_ranks : {1, 2, 3}) {
    for (const int64_t bucket : {1, 4, 10, 11, 100}) {
      SCOPED_TRACE(testing::Message() << n_ranks << " ranks, buckets of " << bucket);
      comm::run_as_threads(n_ranks, [&](comm::Communicator& group) {
        const at::Tensor gradients = at::arange(10, at::kDouble) * (group.rank() + 1);

        sum_gradients(gradients, group, bucket);

        const int sum = n_ranks * (n_ranks + 1) / 2;
        EXPECT_TRUE(at::equal(gradients, at::arange(10, at::kDouble) * sum));
      });
    }
  }
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
