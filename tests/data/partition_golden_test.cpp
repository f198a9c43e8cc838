// Partitions against the recorded ones. The split over data ranks is the master's:
// tests/master/dispatch_golden_test.cpp.
#include <gtest/gtest.h>

#include "golden_file.h"
#include "orrery/data/partition.h"

namespace orrery::data {
namespace {

using golden::Case;
using Groups = std::vector<std::vector<int>>;

FfdLimits ffd_limits(const Case& item) {
  return {.capacity = golden::to_int64(item["capacity"]), .min_groups = item["min_groups"]};
}

TEST(PartitionGolden, FfdAllocateMakesTheRecordedGroups) {
  golden::for_each_case("datapack.json", "ffd_allocate", [](const Case& item) {
    const std::vector<int64_t> values = golden::integers(item["values"]);
    const FfdResult result = ffd_allocate(values, ffd_limits(item));

    EXPECT_EQ(result.groups, item.expect().at("groups").get<Groups>());
    EXPECT_EQ(result.sums, golden::integers(item.expect().at("sums")));
    EXPECT_EQ(in_sorted_form(result.groups), item.expect().at("groups_sorted").get<Groups>());
  });
}

TEST(PartitionGolden, OtherPartitionsHaveNoCounterpart) {
  const char* layers = "a model's layers are cut into equal numbers for pipeline stages";
  golden::leave_out_section("datapack.json", "partition_balanced", layers);
  golden::leave_out_section("datapack.json", "min_abs_diff_partition", layers);
  golden::leave_out_section("datapack.json", "reorder_to_balanced_batches",
                            "the reference does not use it in its dispatch either");
}

}  // namespace
}  // namespace orrery::data
