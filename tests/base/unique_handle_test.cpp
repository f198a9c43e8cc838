#include "orrery/base/unique_handle.h"

#include <gtest/gtest.h>

#include <vector>

namespace orrery::base {
namespace {

std::vector<int> closed;

struct Traits {
  using Raw = int;
  static Raw none() { return 0; }
  static void close(Raw raw) noexcept { closed.push_back(raw); }
};
using Handle = UniqueHandle<Traits>;

TEST(UniqueHandle, ClosesOnce) {
  closed.clear();
  {
    Handle first(7);
    const Handle second(std::move(first));
    EXPECT_FALSE(first);
  }

  EXPECT_EQ(closed, std::vector{7});
}

TEST(UniqueHandle, ClosesWhatAnAssignmentReplaces) {
  closed.clear();
  Handle handle(1);

  handle = Handle(2);

  EXPECT_EQ(closed, std::vector{1});
  EXPECT_EQ(handle.get(), 2);
}

TEST(UniqueHandle, DoesNotCloseWhatWasReleased) {
  closed.clear();
  { EXPECT_EQ(Handle(5).release(), 5); }

  EXPECT_TRUE(closed.empty());
}

}  // namespace
}  // namespace orrery::base
