#include "orrery/base/philox.h"

#include <gtest/gtest.h>

namespace orrery::base {
namespace {

// Known answers published with the authors' Random123 library (kat_vectors, philox4x32 10).
TEST(Philox, GivesThePublishedKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(PhiloxUniform, LiesInTheUnitIntervalWithMeanOneHalf) {
  double sum = 0;
  for (uint64_t i = 0; i < 20000; ++i) {
    const double draw = philox_uniform(1, 2, i);
    ASSERT_GE(draw, 0);
    ASSERT_LT(draw, 1);
    sum += draw;
  }

  EXPECT_NEAR(sum / 20000, 0.5, 0.01);  // five standard errors
}

TEST(PhiloxBelow, ReachesEveryValueAndNoOther) {
  std::array<int, 7> count{};
  for (uint64_t i = 0; i < 7000; ++i) ++count.at(philox_below(3, 0, i, 7));

  for (const int n : count) EXPECT_NEAR(n, 1000, 150);  // five standard deviations
}

TEST(PhiloxNormal, HasMeanZeroAndVarianceOne) {
  double sum = 0, squares = 0;
  for (uint64_t i = 0; i < 10000; ++i) {
    for (const double draw : philox_normal4(5, 0, i)) {
      sum += draw;
      squares += draw * draw;
    }
  }

  EXPECT_NEAR(sum / 40000, 0, 0.025);
  EXPECT_NEAR(squares / 40000, 1, 0.035);
}

}  // namespace
}  // namespace orrery::base
