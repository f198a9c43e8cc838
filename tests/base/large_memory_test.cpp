#include "orrery/base/large_memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <new>
#include <utility>

namespace orrery::base {
namespace {

TEST(LargeMemory, GivesZerosThatCanBeWrittenToTheLastByte) {
  for (const size_t size :
       {size_t{1}, size_t{4097}, (size_t{2} << 20) - 1, (size_t{5} << 20) + 3}) {
    const LargeMemory memory(size);
    auto* const bytes = static_cast<unsigned char*>(memory.data());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes) % 64, 0U);
    EXPECT_EQ(bytes[0] + bytes[size / 2] + bytes[size - 1], 0);
    bytes[0] = bytes[size - 1] = 1;
    EXPECT_GE(memory.size_bytes(), size);
  }
}

TEST(LargeMemory, MovesAndMayBeEmpty) {
  LargeMemory a(100);
  void* const data = a.data();
  LargeMemory b(std::move(a));
  EXPECT_EQ(b.data(), data);
  b = LargeMemory();
  EXPECT_EQ(b.data(), nullptr);
  EXPECT_EQ(LargeMemory(0).data(), nullptr);
}

TEST(LargeMemory, ThrowsWhenThereIsNotAsMuch) {
  EXPECT_THROW(LargeMemory(std::numeric_limits<size_t>::max() / 4), std::bad_alloc);
  EXPECT_THROW(LargeMemory(std::numeric_limits<size_t>::max() - 5), std::bad_alloc);
}

}  // namespace
}  // namespace orrery::base
