// Memory that cannot be had, as the error that a user reads.
#include "orrery/worker/allocation.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <new>

#include "orrery/base/error.h"

namespace orrery::worker {
namespace {

AllocationPurpose purpose() {
  return {.what = "parameters of role actor", .advice = "use more tensor ranks"};
}

template <class Work>
std::string error_of(const Work& work) {
  try {
    with_purpose(purpose, work);
  } catch (const CallError& error) {
    return error.what();
  }
  return "no CallError";
}

TEST(Allocation, OfATensorThatDoesNotFitIsNamedWithItsSize) {
  const std::string text = error_of([] { at::empty({int64_t{1} << 55}, at::kByte); });

  for (const char* part : {"there is no memory for parameters of role actor", "another ",
                           "use more tensor ranks", "fewer workers on a node"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
  EXPECT_NE(text.find("iB"), std::string::npos) << text;
}

TEST(Allocation, OfTheStandardLibraryIsNamedToo) {
  const std::string text = error_of([] { throw std::bad_alloc(); });

  EXPECT_NE(text.find("there is no memory for parameters of role actor"), std::string::npos)
      << text;
}

TEST(Allocation, OtherErrorsPass) {
  EXPECT_THROW(with_purpose(purpose, [] { throw DataError("x"); }), DataError);
  EXPECT_THROW(with_purpose(purpose, [] { at::empty({-1}); }), c10::Error);
  EXPECT_EQ(error_of([] {}), "no CallError");
  EXPECT_EQ(with_purpose(purpose, [] { return 7; }), 7);
}

}  // namespace
}  // namespace orrery::worker
