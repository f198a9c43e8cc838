#include "orrery/config/field.h"

#include <gtest/gtest.h>

#include <limits>

namespace orrery::config {
namespace {

template <class T>
std::string problem_of(const std::string& text) {
  T value{};
  return read_value(text, value).value_or("none");
}

template <class T>
T value_of(const std::string& text) {
  T value{};
  EXPECT_EQ(read_value(text, value).value_or("none"), "none") << text;
  return value;
}

std::string verdict(const Check& check, const std::string& text) {
  return check.problem ? check.problem(text).value_or("allowed") : "allowed";
}

TEST(ReadValue, TakesIntegers) {
  EXPECT_EQ(value_of<int64_t>("42"), 42);
  EXPECT_EQ(value_of<int64_t>("+7"), 7);
  EXPECT_EQ(value_of<int64_t>("-9223372036854775808"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(value_of<int>("-3"), -3);
}

TEST(ReadValue, RefusesWhatIsNoInteger) {
  for (const char* text : {"", "many", "1.0", "1e3", "3 4", "0x10", "+-5", "++5", "5-", "-"}) {
    EXPECT_EQ(problem_of<int64_t>(text), std::string("'") + text + "' is not an integer");
  }
  EXPECT_EQ(problem_of<int64_t>("9223372036854775808"),
            "'9223372036854775808' is too large or too small for an integer");
  EXPECT_EQ(problem_of<int>("2147483648"), "'2147483648' is too large or too small for an integer");
}

TEST(ReadValue, TakesNumbers) {
  EXPECT_EQ(value_of<double>("1e-5"), 1e-5);
  EXPECT_EQ(value_of<double>("3"), 3.0);
  EXPECT_EQ(value_of<double>("+.5"), 0.5);
}

TEST(ReadValue, RefusesWhatIsNoFiniteNumber) {
  EXPECT_EQ(problem_of<double>("0,5"), "'0,5' is not a number");
  EXPECT_EQ(problem_of<double>(""), "'' is not a number");
  EXPECT_EQ(problem_of<double>("nan"), "'nan' is not a finite number");
  EXPECT_EQ(problem_of<double>("-inf"), "'-inf' is not a finite number");
  EXPECT_EQ(problem_of<double>("1e999"), "'1e999' is too large or too small for a number");
}

TEST(ReadValue, TakesTheUsualWordsForTrueAndFalse) {
  for (const char* text : {"true", "yes", "on", "1"}) EXPECT_TRUE(value_of<bool>(text));
  for (const char* text : {"false", "no", "off", "0"}) EXPECT_FALSE(value_of<bool>(text));
  EXPECT_EQ(problem_of<bool>("fales"), "'fales' is neither true nor false");
}

TEST(ReadValue, TakesKeysWithAndWithoutAnotherName) {
  const auto keys = value_of<std::vector<KeyBinding>>("packed_input_ids, logprobs : ref_logprobs");

  EXPECT_EQ(keys, (std::vector<KeyBinding>{{"packed_input_ids", "packed_input_ids"},
                                           {"logprobs", "ref_logprobs"}}));
  EXPECT_TRUE(value_of<std::vector<KeyBinding>>("").empty());
}

TEST(ReadValue, RefusesHalfKeys) {
  EXPECT_EQ(problem_of<std::vector<KeyBinding>>("a,,b"), "'a,,b' has an empty item");
  EXPECT_EQ(problem_of<std::vector<KeyBinding>>("a:"),
            "'a:' is not `key` or `interface_key:graph_key`");
  EXPECT_EQ(problem_of<std::vector<KeyBinding>>(":b"),
            "':b' is not `key` or `interface_key:graph_key`");
}

TEST(ReadValue, LeavesTheValueAloneWhenItRefuses) {
  int64_t value = 5;

  read_value("many", value);

  EXPECT_EQ(value, 5);
}

TEST(ValueText, ReadsBackExactly) {
  for (const double value : {0.1, 1e-5, 1.0 / 3, 6.02214076e23, 5e-324, -0.0, 1e22}) {
    EXPECT_EQ(value_of<double>(value_text(value)), value) << value_text(value);
  }
  EXPECT_EQ(value_text(1e-5), "1e-05");
  EXPECT_EQ(value_text(0.95), "0.95");
  EXPECT_EQ(value_text(true), "true");
  EXPECT_EQ(value_text(std::vector<KeyBinding>{{"a", "a"}, {"b", "c"}}), "a, b:c");
}

TEST(EscapedText, KnowsLineEndsTabsAndTheBackslash) {
  for (const char* text : {"", "plain # ; text", R"(a\nb\tc\rd\\)", "<|im_start|>user\\n"}) {
    EXPECT_EQ(verdict(escaped_text(), text), "allowed") << text;
  }
  EXPECT_EQ(verdict(escaped_text(), R"(a\d)"),
            R"(has \d, which stands for nothing; there are \n, \r, \t and \\)");
  EXPECT_EQ(verdict(escaped_text(), R"(\\\)"), R"(ends in a single \; write \\ for one)");
  EXPECT_EQ(unescaped(R"(a\nb\tc\rd\\n)"), "a\nb\tc\rd\\n");
}

TEST(Check, LimitsNumbers) {
  EXPECT_EQ(verdict(in_range(0, 1), "0"), "allowed");
  EXPECT_EQ(verdict(in_range(0, 1), "1"), "allowed");
  EXPECT_EQ(verdict(in_range(0, 1), "1.01"), "must be 0 to 1, got 1.01");
  EXPECT_EQ(verdict(in_range(0, 1), "-1e-9"), "must be 0 to 1, got -1e-9");
  EXPECT_EQ(verdict(at_least(1), "1"), "allowed");
  EXPECT_EQ(verdict(at_least(1), "0"), "must be at least 1, got 0");
  EXPECT_EQ(verdict(above(0), "1e-300"), "allowed");
  EXPECT_EQ(verdict(above(0), "0"), "must be above 0, got 0");
}

TEST(Check, OffersTheNearestChoice) {
  const Check check = one_of({"direct", "gather-scatter", "bcast"});

  EXPECT_EQ(verdict(check, "bcast"), "allowed");
  EXPECT_EQ(verdict(check, "bcats"),
            "must be one of direct, gather-scatter, bcast, got 'bcats'; did you mean bcast?");
  EXPECT_EQ(verdict(check, "carrier pigeon"),
            "must be one of direct, gather-scatter, bcast, got 'carrier pigeon'");
}

TEST(Check, TakesACountOrAWord) {
  const Check check = count_or({"auto", "all"});

  for (const char* text : {"auto", "all", "0", "28"}) EXPECT_EQ(verdict(check, text), "allowed");
  EXPECT_EQ(verdict(check, "-1"), "must be a number from 0 on, or one of auto, all, got '-1'");
  EXPECT_EQ(verdict(check, "most"), "must be a number from 0 on, or one of auto, all, got 'most'");
  EXPECT_EQ(verdict(check, "1.5"), "must be a number from 0 on, or one of auto, all, got '1.5'");
}

TEST(Check, FolderNameIsOneFolder) {
  EXPECT_EQ(verdict(folder_name(), "run 1"), "allowed");
  EXPECT_EQ(verdict(folder_name(), ""), "must not be empty");
  EXPECT_EQ(verdict(folder_name(), ".."), "must be a plain name without '/', got '..'");
  EXPECT_EQ(verdict(folder_name(), "a/b"), "must be a plain name without '/', got 'a/b'");
  EXPECT_EQ(verdict(folder_name(), "a\tb"), "must not contain control characters");
}

}  // namespace
}  // namespace orrery::config
