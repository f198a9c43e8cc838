#include "orrery/base/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "orrery/base/file.h"

namespace orrery::base {
namespace {

std::string nested(int depth, char open, char close) {
  return std::string(static_cast<size_t>(depth), open) +
         std::string(static_cast<size_t>(depth), close);
}

TEST(Json, ReadsWhatIsJson) {
  const auto [value, problem] = parse_json(R"({"a": [1, "[[["]})");

  EXPECT_EQ(problem, "");
  EXPECT_EQ(value["a"][1], "[[[");
}

TEST(JsonLine, ReadsBackToTheSameNumbers) {
  const std::vector<double> values = {0.1, -1.0 / 3, 5e-324, 1.7976931348623157e308, 3};

  EXPECT_EQ(parse_json(json_line(nlohmann::json(values))).value.get<std::vector<double>>(), values);
}

TEST(JsonLine, HasNullForWhatIsNotFiniteAndReplacesWhatIsNoUtf8) {
  EXPECT_EQ(json_line(nlohmann::ordered_json{{"b", NAN}, {"a", "x\xff\n"}, {"c", -INFINITY}}),
            "{\"b\":null,\"a\":\"x\xEF\xBF\xBD\\n\",\"c\":null}");
}

TEST(Json, SaysWhatIsWrong) {
  const auto [value, problem] = parse_json("{\"a\": }");

  EXPECT_TRUE(value.is_null());
  EXPECT_NE(problem.find("not JSON: "), std::string::npos) << problem;
  EXPECT_NE(problem.find("line 1, column 7"), std::string::npos) << problem;
}

TEST(Json, HasADeepestNesting) {
  EXPECT_EQ(parse_json(nested(kDeepestJson, '[', ']')).problem, "");
  EXPECT_EQ(parse_json(nested(kDeepestJson + 1, '[', ']')).problem,
            "JSON nested deeper than 64 at byte 65");
  EXPECT_NE(parse_json(nested(1'000'000, '[', ']')).problem, "");
  EXPECT_NE(parse_json<nlohmann::ordered_json>(std::string(1'000'000, '[')).problem, "");
  EXPECT_NE(json_depth_problem(R"("\\" : )" + nested(65, '[', ']')), std::nullopt);
  EXPECT_EQ(json_depth_problem(R"("\" )" + nested(65, '[', ']')), std::nullopt) << "inside a text";
}

TEST(Json, NothingElseParsesIt) {
  for (const char* folder : {"/src", "/include"}) {
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(ORRERY_SOURCE_DIR + std::string(folder))) {
      const std::string name = entry.path().string();
      if (!entry.is_regular_file() || name.ends_with("base/json.h")) continue;
      const std::string text = read_file(entry.path());
      for (const char* call :
           {"json::parse(", "Json::parse(", "sax_parse(", "json::accept(", "Json::accept("}) {
        EXPECT_EQ(text.find(call), std::string::npos) << name << " has " << call;
      }
    }
  }
}

}  // namespace
}  // namespace orrery::base
