#include "orrery/data/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace orrery::data {
namespace {

/// UTF-8 of one code point, by the definition of the encoding.
std::string encoded(uint32_t code) {
  const auto byte = [](uint32_t value) { return static_cast<char>(value); };
  if (code < 0x80) return {byte(code)};
  if (code < 0x800) return {byte(0xc0 | code >> 6), byte(0x80 | (code & 63))};
  if (code < 0x10000) {
    return {byte(0xe0 | code >> 12), byte(0x80 | (code >> 6 & 63)), byte(0x80 | (code & 63))};
  }
  return {byte(0xf0 | code >> 18), byte(0x80 | (code >> 12 & 63)), byte(0x80 | (code >> 6 & 63)),
          byte(0x80 | (code & 63))};
}

TEST(Utf8, AcceptsEveryCharacterAndNoSurrogate) {
  for (uint32_t code = 0; code <= 0x10ffff; ++code) {
    const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
    ASSERT_EQ(first_invalid_utf8(encoded(code)).has_value(), is_surrogate) << std::hex << code;
  }
  EXPECT_TRUE(first_invalid_utf8(encoded(0x110000)).has_value());
}

TEST(Utf8, RefusesOverlongForms) {
  for (const char* text : {"\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf"}) {
    EXPECT_EQ(first_invalid_utf8(text), 0U);
  }
}

TEST(Utf8, NamesTheFirstWrongByteWhereverItIs) {
  for (std::size_t before = 0; before < 40; ++before) {
    const std::string ascii(before, 'a');
    EXPECT_EQ(first_invalid_utf8(ascii + "\xff" + "tail that is fine"), before);
    EXPECT_EQ(first_invalid_utf8(ascii + "\xc3\xa4\x80"), before + 2);
    EXPECT_EQ(first_invalid_utf8(ascii + "\xe2\x82"), before) << "cut off at the end";
    EXPECT_EQ(first_invalid_utf8(ascii + "\xe2\x82\xac"), std::nullopt);
  }
}

TEST(Utf8, CountsTheBytesThatBeginACharacterAtTheEnd) {
  for (const uint32_t code : {0x61U, 0xe4U, 0x20acU, 0x1f600U}) {
    const std::string whole = encoded(code);
    for (std::size_t n = 0; n < whole.size(); ++n) {
      EXPECT_EQ(unfinished_utf8("a" + whole.substr(0, n)), n) << std::hex << code;
    }
    EXPECT_EQ(unfinished_utf8("a" + whole), 0U);
  }
  EXPECT_EQ(unfinished_utf8("\xe0\x9f"), 0U) << "nothing can complete it";
  EXPECT_EQ(unfinished_utf8("\xff"), 0U);
}

}  // namespace
}  // namespace orrery::data
