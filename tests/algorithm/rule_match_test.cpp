#include "orrery/algorithm/rule_match.h"

#include <gtest/gtest.h>

#include "orrery/base/error.h"

namespace orrery::algorithm {
namespace {

TEST(CanonicalInteger, IgnoresBlanksAndLeadingZeros) {
  EXPECT_EQ(canonical_integer(" 042 "), "42");
  EXPECT_EQ(canonical_integer("-007"), "-7");
  EXPECT_EQ(canonical_integer("-0"), "0");
}

TEST(CanonicalInteger, RefusesEverythingElse) {
  for (const char* text : {"", "-", "+3", "1 2", "3.0", "0x1", "--1"}) {
    EXPECT_EQ(canonical_integer(text), std::nullopt) << text;
  }
}

TEST(ExactMatch, ComparesTextWithoutBlanksAtTheEnds) {
  EXPECT_TRUE(is_match(MatchRule::kExact, " 64", "64"));
  EXPECT_FALSE(is_match(MatchRule::kExact, "064", "64"));
}

TEST(NumericMatch, LooksBehindTheLastEqualsSign) {
  EXPECT_TRUE(is_match(MatchRule::kNumeric, "7*3=21;12+21=33", "33"));
  EXPECT_TRUE(is_match(MatchRule::kNumeric, "-5", "-5"));
  EXPECT_TRUE(is_match(MatchRule::kNumeric, "033", "33"));
  EXPECT_FALSE(is_match(MatchRule::kNumeric, "33=", "33"));
  EXPECT_FALSE(is_match(MatchRule::kNumeric, "33 apples", "33"));
}

TEST(MatchRule, AnAnswerThatIsNotThereIsMatchedByNothing) {
  EXPECT_FALSE(is_match(MatchRule::kExact, "", ""));
  EXPECT_FALSE(is_match(MatchRule::kExact, " ", "\t"));
  EXPECT_FALSE(is_match(MatchRule::kNumeric, "", ""));
  EXPECT_FALSE(can_match(MatchRule::kExact, " "));
  EXPECT_TRUE(can_match(MatchRule::kExact, "x"));
  EXPECT_FALSE(can_match(MatchRule::kNumeric, "3.5"));
  EXPECT_TRUE(can_match(MatchRule::kNumeric, " 35"));
}

TEST(MatchRule, AFinalAnswerThatIsMarkedAndEmptyIsMatchedByNothing) {
  for (const char* answer : {"", " ", "so #### ", "\\boxed{}", "\\boxed{ }", "\\boxed{\\,}"}) {
    EXPECT_FALSE(can_match(MatchRule::kMath, answer)) << answer;
    EXPECT_FALSE(is_match(MatchRule::kMath, answer, answer)) << answer;
  }
  for (const char* answer : {"5", "x+1", "so #### 5", "\\boxed{\\frac12}", "(A)", "#"}) {
    EXPECT_TRUE(can_match(MatchRule::kMath, answer)) << answer;
  }
}

TEST(MatchRule, NamesTheRulesThatThereAre) {
  EXPECT_EQ(match_rule_named("numeric"), MatchRule::kNumeric);
  EXPECT_THROW(match_rule_named("fuzzy"), ConfigError);
}

}  // namespace
}  // namespace orrery::algorithm
