#include "orrery/base/error.h"

#include <gtest/gtest.h>

#include "orrery/base/exit_text.h"

namespace orrery {
namespace {

TEST(Error, TellsWhatWasExpectedWhatCameAndWhatToTry) {
  const CommError error("all_gather: sizes differ",
                        {.expected = "4 from all", .got = "2", .advice = "pad the vocabulary"});

  EXPECT_STREQ(error.what(),
               "all_gather: sizes differ; expected 4 from all; got 2; pad the vocabulary");
}

TEST(Error, LeavesOutWhatIsNotKnown) {
  EXPECT_STREQ(CallError("no such sample", {.expected = "", .got = "7", .advice = ""}).what(),
               "no such sample; got 7");
}

TEST(Error, KnowsTheExitCodeOfItsKind) {
  EXPECT_EQ(ConfigError("x").exit_code(), 2);
  EXPECT_EQ(DataError("x").exit_code(), 2);
  EXPECT_EQ(CallError("x").exit_code(), 3);
  EXPECT_EQ(PeerError("x").exit_code(), 4);
  EXPECT_EQ(OutputError("x").exit_code(), 5);
}

TEST(ExitText, SaysWhatACodeMeans) {
  EXPECT_EQ(exit_text(85), "exit code 85 (stopped on purpose: submit again)");
  EXPECT_EQ(exit_text(2), "exit code 2 (bad configuration or usage)");
  EXPECT_EQ(exit_text(77), "exit code 77");
}

TEST(Assert, NamesTheConditionAndThePlace) {
  try {
    ORRERY_ASSERT(1 + 1 == 3, "arithmetic");
    FAIL();
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("1 + 1 == 3"), std::string::npos) << text;
    EXPECT_NE(text.find("error_test.cpp"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace orrery
