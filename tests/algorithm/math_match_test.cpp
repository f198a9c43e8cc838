#include "orrery/algorithm/math_match.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "orrery/algorithm/rule_match.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {
namespace {

TEST(FinalAnswer, IsTheLastBoxOrMarkElseWhatIsSaidElseTheLastNumber) {
  const std::pair<const char*, const char*> cases[] = {
      {R"(so \boxed{\frac{1}{2}} it is)", R"(\frac{1}{2})"},
      {R"(\boxed{4}. No: \boxed{5})", "5"},
      {R"(\boxed{4} and \boxed{5)", "4"},
      {"3+4=7\n#### 7\nthat is it", "7"},
      {R"(#### 6, or \boxed{5})", "5"},
      {R"(\boxed{5} or #### 6)", "6"},
      {"The answer is 3.14. I am sure.", "3.14"},
      {"**Answer:** 17", "17"},
      {"Each of the 3 gets 1,234.50 of it", "1,234.50"},
      {"5 * 3 = -15", "-15"},
      {"So the chance is $\\frac{1}{4}$.", "\\frac{1}{4}"},
      {"It costs $5 and not $6", "6"},
      {"10-3", "10-3"},
      {"2 1/2", "2 1/2"},
      {"Monday", "Monday"}};
  for (const auto& [text, answer] : cases) EXPECT_EQ(final_answer(text), answer) << text;
}

TEST(FinalAnswer, IsNothingWhereThereIsNone) {
  EXPECT_EQ(final_answer(""), std::nullopt);
  EXPECT_EQ(final_answer(R"(\boxed{ })"), std::nullopt);
  EXPECT_EQ(final_answer("I have thought about this for a long time and can only say no more"),
            std::nullopt);
}

TEST(EqualAnswers, AreOneNumberChoiceOrText) {
  const std::vector<const char*> groups[] = {
      {"0.5", ".5", "1/2", "\\frac{1}{2}", "\\dfrac12", "0.50", "2/4", "5e-1", "+0.5", "$0.5$"},
      {"1234.5", "1,234.5", "1{,}234.50", "$1,234.50", "\\$1,234.5", "1234.5 dollars"},
      {"2.5", "2 1/2", "2\\frac{1}{2}", "5/2", "\\frac{5}{2}", "\\frac{-5}{-2}"},
      {"-0.75", "-3/4", "\\frac{-3}{4}", "\\frac{3}{-4}", "-\\frac34", "\u22120.75"},
      {"1500", "1.5\\times10^3", "1.5 \\times 10^{3}", "1.5*10^3", "15e2"},
      {"1/3", "2/6", "\\frac{1}{3}"},
      {"100000000000000000000000000001", "100,000,000,000,000,000,000,000,000,001"},
      {"5 cm", "5\\text{ cm}", "5"},
      {"25 m^2", "25", "25 \\text{ m}^2"},
      {"90^\\circ", "90", "90 degrees"},
      {"12 marbles", "12"},
      {"B", "(B)", "b", "\\text{(B)}", "B."},
      {"\\text{Yes}", "yes"},
      {"\\left( 1, 2 \\right)", "(1,2)"},
      {"x+1", "x + 1"}};
  for (const auto& group : groups) {
    for (const char* a : group) {
      for (const char* b : group) EXPECT_TRUE(are_equal_answers(a, b)) << a << " and " << b;
    }
  }
  for (const auto& group : groups) {
    for (const auto& other : groups) {
      if (&group == &other) continue;
      EXPECT_FALSE(are_equal_answers(group[0], other[0])) << group[0] << " and " << other[0];
    }
  }
}

TEST(EqualAnswers, APercentageIsItsNumberAndItsHundredth) {
  EXPECT_TRUE(are_equal_answers("50%", "50"));
  EXPECT_TRUE(are_equal_answers("50\\%", "0.5"));
  EXPECT_TRUE(are_equal_answers("1/2", "50 percent"));
  EXPECT_FALSE(are_equal_answers("50%", "60%"));
  EXPECT_FALSE(are_equal_answers("50%", "0.5%"));
}

TEST(EqualAnswers, DifferInUnitsDigitsAndCommas) {
  for (const auto& [a, b] :
       std::initializer_list<std::pair<const char*, const char*>>{{"5 cm", "5 m"},
                                                                  {"0.33", "1/3"},
                                                                  {"12,34", "1234"},
                                                                  {"1,234", "1.234"},
                                                                  {"1/0", "1"},
                                                                  {"9**9**9**9", "9"},
                                                                  {"1e999999999", "1"},
                                                                  {"", ""},
                                                                  {"A", "B"},
                                                                  {"5", "B"}}) {
    EXPECT_FALSE(are_equal_answers(a, b)) << a << " and " << b;
  }
}

TEST(MathMatch, RefusesAListOfChoicesAndMultiplesThatAreNoUnits) {
  for (const char* const list :
       {"A,B,C,D", "\\boxed{A, B}", "A and B", "\\boxed{(A) (C)}", "\\boxed{a, b}", "A. B."}) {
    EXPECT_FALSE(is_match(MatchRule::kMath, list, "A")) << list;
  }
  EXPECT_TRUE(is_match(MatchRule::kMath, "D) A dog", "D"));
  EXPECT_TRUE(is_match(MatchRule::kMath, "D) all of them", "D"));
  EXPECT_TRUE(is_match(MatchRule::kMath, "(C) Vitamin D", "C"));
  EXPECT_TRUE(is_match(MatchRule::kMath, "The answer is (B) because I computed it", "B"));
  EXPECT_FALSE(is_match(MatchRule::kMath, "\\boxed{5 million}", "5"));
  EXPECT_FALSE(is_match(MatchRule::kMath, "2 dozen", "2"));
  EXPECT_TRUE(is_match(MatchRule::kMath, "5 million", "5 million"));
}

TEST(MathMatch, KeepsTheUnitOfANumberInASentence) {
  EXPECT_FALSE(is_match(MatchRule::kMath, "It takes 5 hours.", "5 minutes"));
  EXPECT_FALSE(is_match(MatchRule::kMath, "Now 5 million people live there again", "5"));
  for (const char* const text : {"It takes 5 minutes.", "It takes her 5 min in all",
                                 "\\boxed{5 min}", "So it takes 5 of them, says the book"}) {
    EXPECT_TRUE(is_match(MatchRule::kMath, text, "5 minutes")) << text;
  }
  EXPECT_TRUE(is_match(MatchRule::kMath, "The room has 20 square feet", "20 sq ft"));
  EXPECT_FALSE(is_match(MatchRule::kMath, "The room has 20 square feet", "20 feet"));
  for (const auto& [text, answer] : std::initializer_list<std::pair<const char*, const char*>>{
           {"It goes 20 miles per hour.", "20 mph"},
           {"\\boxed{20 miles per hour}", "20 mph"},
           {"She makes 18 dollars per day.", "$18"},
           {"It is 5 square meters.", "5 m^2"},
           {"The train goes 60 km per hour", "60 km/h"}}) {
    EXPECT_TRUE(is_match(MatchRule::kMath, text, answer)) << text;
  }
}

TEST(MathMatch, ReadsPowersAndWhatStandsBehindAnEqualsSign) {
  for (const auto& [text, answer] :
       std::initializer_list<std::pair<const char*, const char*>>{{"= 7", "7"},
                                                                  {"\\boxed{= 7}", "7"},
                                                                  {"10^6", "1000000"},
                                                                  {"\\boxed{10^{6}}", "1,000,000"},
                                                                  {"-10^2", "-100"},
                                                                  {"2^{10}", "1024"},
                                                                  {"10^-3", "0.001"},
                                                                  {"5^0", "1"}}) {
    EXPECT_TRUE(is_match(MatchRule::kMath, text, answer)) << text;
  }
  for (const auto& [text, answer] :
       std::initializer_list<std::pair<const char*, const char*>>{{"10^5", "1000000"},
                                                                  {"2^3^2", "64"},
                                                                  {"0^-1", "0"},
                                                                  {"10^999999999", "1"},
                                                                  {"= 7 = 8", "7"},
                                                                  {"x^2", "2"}}) {
    EXPECT_FALSE(is_match(MatchRule::kMath, text, answer)) << text;
  }
}

/// The table of tools/rewards/math_answer.py, which knows algebra: this rule may know less, but
/// finds nothing equal that is not.
TEST(MathMatch, NeverAcceptsWhatAlgebraRejects) {
  std::ifstream in(ORRERY_SOURCE_DIR "/tests/tools/rewards/math_pairs.tsv");
  int n_equal = 0, n_accepted = 0;
  for (std::string line; std::getline(in, line);) {
    const std::vector<std::string> cells = base::split(line, '\t');
    if (line.starts_with('#') || cells.size() != 4) continue;
    std::string response = cells[2];
    for (size_t at; (at = response.find("\\n#")) != std::string::npos;)
      response.replace(at, 2, "\n");
    const bool is_accepted = is_match(MatchRule::kMath, response, cells[3]);
    EXPECT_FALSE(is_accepted && cells[1] == "0") << response << " and " << cells[3];
    if (cells[1] == "0") continue;
    ++n_equal;
    n_accepted += is_accepted ? 1 : 0;
  }
  EXPECT_GT(n_equal, 150);
  EXPECT_GT(n_accepted, n_equal / 2);
}

TEST(MathMatch, TakesTheAnswerOutOfAWholeSolution) {
  EXPECT_TRUE(is_match(MatchRule::kMath, "#### 72", "He has 48 + 24 = 72\n#### 72"));
  EXPECT_TRUE(is_match(MatchRule::kMath, R"(\boxed{72})", R"(We get \boxed{72}.)"));
  EXPECT_FALSE(is_match(MatchRule::kMath, "", "72"));
  EXPECT_FALSE(is_match(MatchRule::kMath, "72", " "));
}

}  // namespace
}  // namespace orrery::algorithm
