#include "orrery/base/launcher.h"

#include <gtest/gtest.h>

namespace orrery::base {
namespace {

TEST(Launcher, IsNoneOfAProcessThatMpirunDidNotStart) { EXPECT_FALSE(launcher().has_value()); }

TEST(Launcher, KnowsTheWordsOfThisProcess) {
  const std::vector<std::string> words = own_words();

  ASSERT_FALSE(words.empty());
  EXPECT_NE(words.front().find("test_base"), std::string::npos) << words.front();
}

}  // namespace
}  // namespace orrery::base
