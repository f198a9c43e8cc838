#include "orrery/graph/layout.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "orrery/base/error.h"

namespace orrery::graph {
namespace {

using Workers = std::vector<int>;

TEST(Layout, ReadsDegreesAndWorkers) {
  const Layout layout = Layout::parse("d2t2p1@0-3");

  EXPECT_EQ(layout, (Layout{.data = 2, .tensor = 2, .pipe = 1, .workers = {0, 1, 2, 3}}));
}

TEST(Layout, AcceptsLettersInAnyOrderAndMissingOnes) {
  EXPECT_EQ(Layout::parse("p2d3"), Layout::parse("d3t1p2@0-5"));
  EXPECT_EQ(Layout::parse("t2@5,4").workers, (Workers{5, 4}));
  EXPECT_EQ(Layout::parse(" d1 ").size(), 1);
}

TEST(Layout, CountsFromWorkerZeroWithoutAList) {
  EXPECT_EQ(Layout::parse("d2t2").workers, (Workers{0, 1, 2, 3}));
}

TEST(Layout, TextIsCanonicalAndReadsBack) {
  for (const char* text : {"d2t2p1@0-3", "d1t1p1@2", "d3t1p1@0,2-3", "d1t3p1@2,1,0"}) {
    EXPECT_EQ(Layout::parse(text).text(), text);
  }
  EXPECT_EQ(Layout::parse("p1t1d2@3,4").text(), "d2t1p1@3-4");
}

struct BadLayout {
  const char* text;
  const char* part_of_problem;
};

class LayoutMistake : public testing::TestWithParam<BadLayout> {};

TEST_P(LayoutMistake, IsNamed) {
  const ParsedLayout parsed = parse_layout(GetParam().text);

  std::string all;
  for (const std::string& problem : parsed.problems) all += problem + "\n";
  EXPECT_NE(all.find(GetParam().part_of_problem), std::string::npos)
      << "'" << GetParam().text << "' gave: " << all;
  EXPECT_THROW(Layout::parse(GetParam().text), ConfigError);
}

INSTANTIATE_TEST_SUITE_P(
    Texts, LayoutMistake,
    testing::Values(BadLayout{"", "no degrees"}, BadLayout{"@0", "no degrees"},
                    BadLayout{"d2x1", "'x'"}, BadLayout{"d2d2", "degree d twice"},
                    BadLayout{"d", "number from 1"}, BadLayout{"d0", "number from 1"},
                    BadLayout{"d-1", "number from 1"},
                    BadLayout{"d99999999999999999999", "number from 1"},
                    BadLayout{"d100000t100000", "shards"}, BadLayout{"d2@", "cannot be read"},
                    BadLayout{"d2@0-", "cannot be read"}, BadLayout{"d2@0,", "cannot be read"},
                    BadLayout{"d2@0;1", "cannot be read"}, BadLayout{"d2@a", "cannot be read"},
                    BadLayout{"d2@-1,0", "cannot be read"}, BadLayout{"d2@1-0", "backwards"},
                    BadLayout{"d2@0,0", "worker 0 twice"},
                    BadLayout{"d4@0-1,1-2", "worker 1 twice"},
                    BadLayout{"d2t2@0-2", "4 shards but lists 3 workers"},
                    BadLayout{"d1@0-1", "1 shard but lists 2 workers"}));

TEST(Layout, ReportsAllMistakesTogether) {
  EXPECT_EQ(parse_layout("d3@1,1").problems.size(), 2u);  // twice, and 2 workers for 3 shards
}

TEST(PlacementProblems, NameTheWorkerThatIsMissing) {
  const Layout layout = Layout::parse("d2@1,4");

  EXPECT_TRUE(placement_problems(layout, 5).empty());
  ASSERT_EQ(placement_problems(layout, 4).size(), 1u);
  EXPECT_NE(placement_problems(layout, 4)[0].find("needs worker 4, but there are 4 workers"),
            std::string::npos);
}

TEST(DefaultLayout, IsDataParallelOnAllWorkers) {
  EXPECT_EQ(default_layout(3).text(), "d3t1p1@0-2");
}

}  // namespace
}  // namespace orrery::graph
