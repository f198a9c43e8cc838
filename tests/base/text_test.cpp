#include "orrery/base/text.h"

#include <gtest/gtest.h>

#include "orrery/base/counted.h"

namespace orrery::base {
namespace {

using std::chrono::duration;

TEST(Concat, JoinsWhateverCanBePrinted) { EXPECT_EQ(concat("a", 1, ' ', 2.5), "a1 2.5"); }

TEST(Join, PutsSeparatorsBetween) {
  EXPECT_EQ(join(std::vector{1, 2, 3}, ", "), "1, 2, 3");
  EXPECT_EQ(join(std::vector<int>{}, ", "), "");
}

TEST(Counted, HasASingularAndAPlural) {
  EXPECT_EQ(counted(1, "worker"), "1 worker");
  EXPECT_EQ(counted(0, "worker"), "0 workers");
  EXPECT_EQ(counted(size_t{2}, "worker"), "2 workers");
  EXPECT_EQ(counted(1, "batch", "batches"), "1 batch");
  EXPECT_EQ(counted(3, "batch", "batches"), "3 batches");
}

TEST(Split, KeepsEmptyPieces) {
  EXPECT_EQ(split("a,,b", ','), (std::vector<std::string>{"a", "", "b"}));
  EXPECT_EQ(split("", ','), (std::vector<std::string>{""}));
}

TEST(Trim, RemovesBlanksAtBothEnds) {
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim("  "), "");
}

TEST(Nearest, FindsATypingError) {
  const std::vector<std::string> known = {"total_steps", "total_epochs", "seed"};

  EXPECT_EQ(nearest("totl_steps", known), "total_steps");
  EXPECT_EQ(nearest("sed", known), "seed");
  EXPECT_EQ(nearest("esed", known), "seed") << "two letters changed places";
}

TEST(Nearest, DoesNotGuessWildly) {
  const std::vector<std::string> known = {"total_steps", "seed"};

  EXPECT_EQ(nearest("keep", known), std::nullopt);
  EXPECT_EQ(nearest("feed", std::vector<std::string>{"keep", "eta"}), std::nullopt);
  EXPECT_EQ(nearest("tau", std::vector<std::string>{"keep", "eta"}), std::nullopt);
  EXPECT_EQ(nearest("layout", known), std::nullopt);
  EXPECT_EQ(nearest("", known), std::nullopt);
}

TEST(BytesText, ChoosesTheUnit) {
  EXPECT_EQ(bytes_text(512), "512 B");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(bytes_text(int64_t{3} << 30), "3.0 GiB");
}

TEST(DurationText, ChoosesTheUnit) {
  EXPECT_EQ(duration_text(duration<double>(0.44)), "0.4 s");
  EXPECT_EQ(duration_text(duration<double>(42)), "42 s");
  EXPECT_EQ(duration_text(duration<double>(185)), "3m05s");
  EXPECT_EQ(duration_text(duration<double>(7620)), "2h07m");
}

}  // namespace
}  // namespace orrery::base
