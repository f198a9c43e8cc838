#include "orrery/base/table.h"

#include <gtest/gtest.h>

namespace orrery::base {
namespace {

TEST(Table, HasColumnsAsWideAsTheirWidestCell) {
  EXPECT_EQ(table_text({"name", "n"}, {{"a", "100"}, {"longer", "2"}}),
            "name    n\n"
            "a       100\n"
            "longer  2\n");
}

TEST(Table, WithoutRowsIsItsHeading) { EXPECT_EQ(table_text({"a", "b"}, {}), "a  b\n"); }

TEST(Table, TakesRowsOfFewerCells) {
  EXPECT_EQ(table_text({"a", "b", "c"}, {{"1"}, {"22", "3"}}),
            "a   b  c\n"
            "1\n"
            "22  3\n");
}

}  // namespace
}  // namespace orrery::base
