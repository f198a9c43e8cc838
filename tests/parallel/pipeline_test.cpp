#include "orrery/parallel/pipeline.h"

#include <gtest/gtest.h>

namespace orrery::parallel {
namespace {

using Kind = PipelineStep::Kind;

TEST(OneForwardOneBackward, DoesEveryMicroBatchOnceEachWayForwardFirst) {
  for (int n_stages = 1; n_stages <= 6; ++n_stages) {
    for (int n = 0; n <= 9; ++n) {
      for (int stage = 0; stage < n_stages; ++stage) {
        int forwards = 0, backwards = 0;
        for (const PipelineStep& step : one_forward_one_backward(stage, n_stages, n)) {
          if (step.kind == Kind::kForward) {
            EXPECT_EQ(step.micro_batch, forwards++);
          } else {
            EXPECT_EQ(step.micro_batch, backwards++);
          }
          EXPECT_LE(backwards, forwards);
          EXPECT_LE(forwards - backwards, n_stages - stage) << "activations held at a time";
        }
        EXPECT_EQ(forwards, n);
        EXPECT_EQ(backwards, n);
      }
    }
  }
}

TEST(OneForwardOneBackward, IsTheOrderOfThePicture) {
  const std::vector<PipelineStep> middle = one_forward_one_backward(1, 3, 3);

  EXPECT_EQ(middle, (std::vector<PipelineStep>{{Kind::kForward, 0},
                                               {Kind::kForward, 1},
                                               {Kind::kBackward, 0},
                                               {Kind::kForward, 2},
                                               {Kind::kBackward, 1},
                                               {Kind::kBackward, 2}}));
}

}  // namespace
}  // namespace orrery::parallel
