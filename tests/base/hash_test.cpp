#include "orrery/base/hash.h"

#include <gtest/gtest.h>

namespace orrery::base {
namespace {

// Values of the xxHash specification's reference implementation.
TEST(Hash64, IsXxh64WithSeedZero) {
  EXPECT_EQ(hash64(""), 0xEF46DB3751D8E999u);
  EXPECT_EQ(hash64("abc"), 0x44BC2CF5AD770999u);
}

TEST(Hash128, IsXxh3OfTheBytes) {
  EXPECT_EQ(hash128_text(""), "99aa06d3014798d86001c324468d497f");
  EXPECT_NE(hash128_text("abc"), hash128_text("abd"));
}

}  // namespace
}  // namespace orrery::base
