#include "orrery/report/page.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orrery/report/script_text.h"
#include "run_for_test.h"

namespace orrery::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ScriptText, CannotEndItsElement) {
  ScriptText text;
  text.text("</script><!-- & \xE2\x80\xA8\xE2\x80\xA9 \xFF");

  EXPECT_THAT(text.str(), Not(HasSubstr("<")));
  EXPECT_THAT(text.str(), Not(HasSubstr(">")));
  EXPECT_THAT(text.str(), Not(HasSubstr("\xE2\x80\xA8")));
  EXPECT_EQ(nlohmann::json::parse(text.str()).get<std::string>(),
            "</script><!-- & \xE2\x80\xA8\xE2\x80\xA9 \xEF\xBF\xBD");
}

TEST(ScriptText, WritesNumbersThatAreNotFiniteAsNull) {
  ScriptText text;
  text.begin_list().number(1.5).number(NAN).number(INFINITY).number(-INFINITY).number(1e-30);
  text.end_list();
  EXPECT_EQ(text.str(), "[1.5,null,null,null,1e-30]");
}

TEST(HtmlText, EscapesMarkup) {
  EXPECT_EQ(html_text("<b a=\"&\">"), "&lt;b a=&quot;&amp;&quot;&gt;");
}

/// What stands between <script type="application/json" id="NAME"> and its end.
nlohmann::json data_of(const std::string& html, const std::string& name) {
  const std::string mark = "id=\"" + name + "\">";
  const size_t begin = html.find(mark) + mark.size();
  return nlohmann::json::parse(html.substr(begin, html.find("</script>", begin) - begin));
}

TEST(Page, CarriesCurvesAndHostileAnswersWhole) {
  const RunForTest folder;
  const std::string prompt = "</script><script>alert(1)</script>{{scripts}}{{data}}";
  folder.write(
      "samples/step-00000001-rank-0.jsonl",
      nlohmann::json{{"step", 1}, {"prompt", prompt}, {"response", "x"}, {"reward", 1}}.dump() +
          "\n");
  ReportRun run;
  run.record.name = "<i>run</i>";
  run.record.curves["eval/accuracy"].put(0, 0.25);
  run.record.curves["eval/accuracy"].put(2, std::numeric_limits<double>::quiet_NaN());
  run.samples = index_samples(folder.root());
  run.chosen = {0};
  const std::string html =
      page_html({run}, {.title = "<i>", .made = "", .program = "", .sample_rule = ""});

  EXPECT_THAT(html, Not(HasSubstr("alert(1)</script>")));
  EXPECT_THAT(html, HasSubstr("<title>&lt;i&gt;</title>"));
  EXPECT_THAT(html, Not(HasSubstr("src=")));  // nothing is loaded
  EXPECT_THAT(html, Not(HasSubstr("href=")));
  const auto data = data_of(html, "data");
  EXPECT_EQ(data["runs"][0]["name"], "<i>run</i>");
  EXPECT_EQ(data["runs"][0]["curves"]["eval/accuracy"][1], nlohmann::json({0.25, nullptr}));
  EXPECT_EQ(data["definitions"]["eval/accuracy"][0], "share");
  EXPECT_EQ(data_of(html, "samples-data")[0]["texts"][0], prompt);
}

TEST(Thinned, KeepsEndsAndExtremes) {
  Curve curve;
  for (int64_t step = 0; step < 10'000; ++step) curve.put(step, step == 777 ? 5 : 0);
  const Curve thin = thinned(curve, 100);

  EXPECT_LE(thin.steps.size(), 100U);
  EXPECT_EQ(thin.steps.front(), 0);
  EXPECT_EQ(thin.steps.back(), 9999);
  EXPECT_THAT(thin.values, ::testing::Contains(5));
}

TEST(StretchMeans, KeepsTheSameStepsForCurvesWithTheSameSteps) {
  Curve a, b;
  for (int64_t step = 1; step <= 10; ++step) {
    a.put(step, static_cast<double>(step));
    b.put(step, -1);
  }
  EXPECT_THAT(span_means(a, 5).steps, ::testing::ElementsAre(1, 3, 5, 7, 9));
  EXPECT_THAT(span_means(a, 5).values, ::testing::ElementsAre(1.5, 3.5, 5.5, 7.5, 9.5));
  EXPECT_EQ(span_means(a, 5).steps, span_means(b, 5).steps);
}

}  // namespace
}  // namespace orrery::report
