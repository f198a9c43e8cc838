#include "orrery/base/error.h"

#include <gtest/gtest.h>

#include <new>
#include <string>

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

/// The class of what `work` throws, by its own name.
template <class Work>
std::string thrown(const Work& work) {
  try {
    work();
#define ORRERY_CATCH(Name, code) \
  }                              \
  catch (const Name& error) {    \
    return std::string(#Name) + " " + std::to_string(error.exit_code()) + ": " + error.what();
    ORRERY_ERROR_CLASSES(ORRERY_CATCH)
#undef ORRERY_CATCH
  } catch (const Error& error) {
    return "Error " + std::to_string(error.exit_code()) + ": " + error.what();
  }
  return "nothing";
}

TEST(Error, KeepsClassAndExitCodeWhenContextIsAdded) {
  const auto check = [](const std::string& name, const Error& error) {
    SCOPED_TRACE(name);
    const std::string code = std::to_string(error.exit_code());
    EXPECT_EQ(thrown([&] { rethrow_from("worker 1, step 3", error); }),
              name + " " + code + ": worker 1, step 3: it broke");
    // As a reply carries it to the master.
    EXPECT_EQ(thrown([&] { throw_error(kind_of(error), exit_code_of(error), error.what()); }),
              name + " " + code + ": it broke");
  };
  int n_classes = 0;
#define ORRERY_CHECK(Name, code)                                               \
  check(#Name, Name("it broke"));                                              \
  EXPECT_EQ(Name("x").exit_code(), static_cast<int>(ExitCode::code)) << #Name; \
  ++n_classes;
  ORRERY_ERROR_CLASSES(ORRERY_CHECK)
#undef ORRERY_CHECK
  check("Error", Error("it broke", ExitCode::kStoppedOnPurpose));
  EXPECT_EQ(n_classes, 9);
}

TEST(Error, WhatIsNoneOfOursIsAFailedCall) {
  EXPECT_EQ(thrown([] { rethrow_from("call a", std::bad_alloc()); }),
            "CallError 3: call a: std::bad_alloc");
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
