#include "orrery/report/plot.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace orrery::report {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Curve curve_of(const std::vector<double>& values) {
  Curve curve;
  for (size_t i = 0; i < values.size(); ++i) curve.put(static_cast<int64_t>(i), values[i]);
  return curve;
}

TEST(Smoothed, CorrectsForItsStartAndSkipsNaN) {
  const Curve smooth = smoothed(curve_of({2, NAN, 4}), 0.5);
  EXPECT_EQ(smooth.values[0], 2);
  EXPECT_TRUE(std::isnan(smooth.values[1]));
  EXPECT_DOUBLE_EQ(smooth.values[2], (0.5 * 1 + 0.5 * 4) / 0.75);
}

TEST(TerminalPlot, RisesFromTheLowerLeftDotToTheUpperRightOne) {
  const std::string text = terminal_plot({.title = "m", .series = {{"run", curve_of({0, 1})}}},
                                         {.columns = 23, .rows = 2});
  EXPECT_THAT(text, HasSubstr("m: 0 -> 1 over steps 0..1\n         1 │⠀⠀⠀⠀⠀"));
  EXPECT_THAT(text, HasSubstr("⠉\n         0 │⣀"));
  EXPECT_THAT(text, ::testing::EndsWith("⠀⠀⠀⠀⠀\n"));
}

TEST(TerminalPlot, SaysWhenNothingIsFinite) {
  EXPECT_THAT(terminal_plot({.title = "m", .series = {{"run", curve_of({NAN, INFINITY})}}}, {}),
              HasSubstr("no finite values"));
}

TEST(TerminalText, ShowsWhatWouldDriveTheTerminal) {
  EXPECT_EQ(terminal_text("a\x1b[2Jb\nc\xC2\x9B", 99), "a·[2Jb⏎c·");
  EXPECT_EQ(terminal_text("\xFFx", 99), "?x");
  EXPECT_EQ(terminal_text("äöü", 2), "äö…");
}

TEST(SvgPlots, EscapesNames) {
  const std::string svg =
      svg_plots({{.title = "<m>", .series = {{"a&b", curve_of({1, NAN, 2, 3})}}}}, 600);
  EXPECT_THAT(svg, HasSubstr("&lt;m&gt;"));
  EXPECT_THAT(svg, HasSubstr("a&amp;b"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(BarText, FillsItsShare) { EXPECT_EQ(bar_text(0.5, 4), "██░░"); }

}  // namespace
}  // namespace orrery::report
