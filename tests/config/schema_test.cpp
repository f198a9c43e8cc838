#include "orrery/config/schema.h"

#include <gtest/gtest.h>

#include "config_folder.h"

namespace orrery::config {
namespace {

TEST(Schema, TellsTypeAndDefaultFromTheMember) {
  const Schema schema = schema_of<GenOptions>();

  ASSERT_EQ(schema.size(), 3u);
  EXPECT_EQ(schema[0].name, "group_size");
  EXPECT_EQ(schema[0].type, "integer");
  EXPECT_EQ(schema[0].default_text, "1");
  EXPECT_EQ(schema[0].help, "answers for each prompt");
  EXPECT_EQ(schema[0].check.text, "at least 1");
  EXPECT_EQ(schema[1].type, "number");
  EXPECT_EQ(schema[2].type, "text");
  EXPECT_EQ(schema[2].default_text, "exact");
}

TEST(Schema, ChecksAValueWithoutKnowingTheStruct) {
  const Schema schema = schema_of<GenOptions>();

  EXPECT_EQ(schema[0].problem("8"), std::nullopt);
  EXPECT_EQ(schema[0].problem("eight"), "'eight' is not an integer");
  EXPECT_EQ(schema[0].problem("0"), "must be at least 1, got 0");
}

TEST(ParseOptions, SetsWhatIsNamedAndKeepsDefaults) {
  const auto options =
      parse_options<GenOptions>({{"group_size", "8", {}}, {"match", "numeric", {}}});

  EXPECT_EQ(options.group_size, 8);
  EXPECT_EQ(options.temperature, 1);
  EXPECT_EQ(options.match, "numeric");
}

std::string failure(const std::vector<Option>& options) {
  try {
    parse_options<GenOptions>(options);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "none";
}

TEST(ParseOptions, NamesThePlaceOfAnOptionThatItRefuses) {
  EXPECT_EQ(failure({{"group_sise", "8", {"x.cfg", 12}}}), "x.cfg:12: unknown option group_sise");
  EXPECT_EQ(failure({{"temperature", "0", {"x.cfg", 13}}}),
            "x.cfg:13: temperature: must be above 0, got 0");
  EXPECT_EQ(failure({{"temperature", "hot", {"x.cfg", 14}}}),
            "x.cfg:14: temperature: 'hot' is not a number");
}

}  // namespace
}  // namespace orrery::config
