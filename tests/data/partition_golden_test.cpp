// Partitions and dispatch splits against the recorded ones.
#include <gtest/gtest.h>

#include "golden_file.h"
#include "orrery/base/error.h"
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
    if (item.expects_error()) {
      EXPECT_THROW(ffd_allocate(values, ffd_limits(item)), Error);
      return;
    }

    const FfdResult result = ffd_allocate(values, ffd_limits(item));

    EXPECT_EQ(result.groups, item.expect()["groups"].get<Groups>());
    EXPECT_EQ(result.sums, golden::integers(item.expect()["sums"]));
    EXPECT_EQ(in_sorted_form(result.groups), item.expect()["groups_sorted"].get<Groups>());
  });
}

TEST(PartitionGolden, PartitionBalancedCutsWhereRecorded) {
  golden::for_each_case("datapack.json", "partition_balanced", [](const Case& item) {
    const std::vector<int64_t> values = golden::integers(item["nums"]);

    const std::vector<int> cuts =
        partition_balanced(values, {.n_segments = item["k"], .min_size = item["min_size"]});

    EXPECT_EQ(cuts, item.expect()["cuts"].get<std::vector<int>>());
  });
}

TEST(PartitionGolden, MinAbsDiffPartitionReturnsTheRecordedRanges) {
  golden::for_each_case("datapack.json", "min_abs_diff_partition", [](const Case& item) {
    const std::vector<int64_t> values = golden::integers(item["nums"]);
    const SegmentLimits limits{.n_segments = item["k"], .min_size = item["min_size"]};
    if (item.expects_error()) {
      EXPECT_THROW(min_abs_diff_partition(values, limits), Error);
      return;
    }

    Groups ranges;
    for (const IndexRange& range : min_abs_diff_partition(values, limits)) {
      ranges.push_back({range.begin, range.end});
    }

    EXPECT_EQ(ranges, item.expect()["ranges"].get<Groups>());
  });
}

TEST(PartitionGolden, ReorderToBalancedBatchesMakesTheRecordedOrder) {
  golden::for_each_case("datapack.json", "reorder_to_balanced_batches", [](const Case& item) {
    const std::vector<int64_t> lengths = golden::integers(item["seqlens"]);

    const BalancedBatches result = reorder_to_balanced_batches(lengths, item["n_seqs_per_batch"]);

    EXPECT_EQ(result.order, item.expect()["order"].get<std::vector<int>>());
    EXPECT_EQ(result.max_diff, golden::to_int64(item.expect()["max_diff"]));
  });
}

BatchMetadata batch_of(const Case& item) {
  BatchMetadata batch;
  for (std::size_t i = 0; i < item["ids"].size(); ++i) batch.ids.push_back({i});
  for (const auto& entry : item["seqlens"]) {
    KeyMetadata key{.key = entry[0], .dtype = DType::kI64, .trailing_shape = {}, .lengths = {}};
    for (const auto& sample : entry[1]) key.lengths.add_sample(golden::int32s(sample));
    batch.keys.push_back(key);
  }
  batch.check();
  return batch;
}

TEST(PartitionGolden, DispatchSplitsTheBatchAsRecorded) {
  golden::for_each_case("dispatch.json", "data_parallel_dispatch", [](const Case& item) {
    const BatchMetadata batch = batch_of(item);
    const bool is_generate = item["is_generate"];
    const int n_ranks = item["dp_size"];
    const auto split_batch = [&] {
      return is_generate ? split_generation(batch, n_ranks) : split_by_tokens(batch, n_ranks);
    };
    if (item.expects_error()) {
      EXPECT_THROW(split_batch(), Error);
      return;
    }

    const DispatchSplit split = split_batch();

    std::vector<int> order;
    Groups partitions;
    BatchMetadata dispatched;  // the parts one behind another
    for (const std::vector<int>& group : split.groups) {
      const int begin = static_cast<int>(order.size());
      order.insert(order.end(), group.begin(), group.end());
      partitions.push_back({begin, static_cast<int>(order.size())});
    }
    dispatched = batch.select_samples(order);
    EXPECT_EQ(order, item.expect()["order"].get<std::vector<int>>());
    EXPECT_EQ(partitions, item.expect()["partitions"].get<Groups>());
    EXPECT_EQ(split.tokens, golden::integers(item.expect()["tokens"]));
    if (!is_generate) {
      EXPECT_EQ(split.split_key, item.expect()["split_key"].get<std::string>());
    }
    std::vector<int64_t> buffer_rows;
    for (const int index : order) buffer_rows.push_back(item["buf_indices"][index]);
    EXPECT_EQ(buffer_rows, golden::integers(item.expect()["buf_indices"]));
    for (const auto& entry : item.expect()["seqlens"]) {
      NestedLengths lengths;
      for (const auto& sample : entry[1]) lengths.add_sample(golden::int32s(sample));
      EXPECT_EQ(dispatched.at(entry[0].get<std::string>()).lengths, lengths) << entry[0];
    }
  });
}

}  // namespace
}  // namespace orrery::data
