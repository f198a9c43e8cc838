#include "rank_versions.h"

#include <gtest/gtest.h>

#include "program_versions.h"

namespace orrery::cli {
namespace {

TEST(RankVersions, TheOnesThatDifferAreNamed) {
  EXPECT_EQ(differing_versions({{"1.0, build a", "n0"}, {"1.0, build a", "n1"}}), "");
  EXPECT_EQ(differing_versions({{"1.0, build a", "n0"},
                                {"1.0, build b", "n1"},
                                {"1.0, build a", "n1"},
                                {"1.0, build b", "n2"},
                                {"", ""}}),
            "1.0, build b on rank 1 on n1, rank 3 on n2; a version that does not say which on rank "
            "4");
}

TEST(RankVersions, AProgramKnowsItsOwnBuild) {
  const std::string build = program_build();

  EXPECT_NE(build.find(", build "), std::string::npos) << build;
  EXPECT_EQ(build.find("unknown"), std::string::npos) << "the linker leaves a mark: " << build;
  EXPECT_EQ(build, program_build());
}

}  // namespace
}  // namespace orrery::cli
