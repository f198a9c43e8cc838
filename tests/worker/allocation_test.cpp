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

TEST(Allocation, OfAGpuTellsWhatIsLeftOfIt) {
  const std::string text = error_of([] {
    throw c10::OutOfMemoryError(
        {__func__, __FILE__, __LINE__},
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 80.00 GiB "
        "of "
        "which 3.10 MiB is free. Including non-PyTorch memory, this process has 79.00 GiB memory "
        "in "
        "use. Of the allocated memory 70.00 GiB is allocated by PyTorch, and 1.50 GiB is reserved "
        "by PyTorch but unallocated. If reserved but unallocated memory is large try setting");
  });

  for (const char* part : {"there is no memory on the GPU for parameters of role actor",
                           "another 2.00 GiB", "3.10 MiB free of the GPU's 80.00 GiB",
                           "tensors hold 70.00 GiB, 1.50 GiB is kept for more of them",
                           "use more tensor ranks", "orrery plan CONFIG --device cuda"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in\n" << text;
  }
  EXPECT_EQ(text.find("fewer workers"), std::string::npos) << text;
}

TEST(Allocation, OtherErrorsPass) {
  EXPECT_THROW(with_purpose(purpose, [] { throw DataError("x"); }), DataError);
  EXPECT_THROW(with_purpose(purpose, [] { at::empty({-1}); }), c10::Error);
  EXPECT_EQ(error_of([] {}), "no CallError");
  EXPECT_EQ(with_purpose(purpose, [] { return 7; }), 7);
}

}  // namespace
}  // namespace orrery::worker
