#include "orrery/data/partition.h"

#include <algorithm>  // max, stable_sort, reverse
#include <limits>
#include <numeric>  // partial_sum, iota

#include "orrery/base/error.h"  // CallError
#include "orrery/base/text.h"   // concat

namespace orrery::data {

namespace {

using base::concat;

// What stands for "no partition known" in the recurrence.
constexpr int64_t kUnreachable = 10'000'000'000;

/// The best known way to cut a prefix into a number of segments.
struct Best {
  int64_t spread = kUnreachable;    // largest minus smallest sum
  int64_t largest = -kUnreachable;  // sums of the chosen way
  int64_t smallest = kUnreachable;
  int last_cut = 0;
};

}  // namespace

std::vector<int> partition_balanced(std::span<const int64_t> values, const SegmentLimits& limits) {
  const int n = static_cast<int>(values.size());
  std::vector<int64_t> prefix(values.size() + 1, 0);
  std::partial_sum(values.begin(), values.end(), prefix.begin() + 1);
  const auto sum = [&](int begin, int end) {
    return prefix[static_cast<std::size_t>(end)] - prefix[static_cast<std::size_t>(begin)];
  };

  std::vector<std::vector<Best>> best(static_cast<std::size_t>(std::max(limits.n_segments, 1)),
                                      std::vector<Best>(values.size() + 1));
  for (int end = 0; end <= n; ++end) {
    best[0][static_cast<std::size_t>(end)] = {
        .spread = 0, .largest = sum(0, end), .smallest = sum(0, end), .last_cut = 0};
  }
  for (std::size_t level = 1; level < best.size(); ++level) {
    for (int end = 0; end <= n; ++end) {
      Best& chosen = best[level][static_cast<std::size_t>(end)];
      for (int cut = limits.min_size; cut <= end - limits.min_size; ++cut) {
        const Best& before = best[level - 1][static_cast<std::size_t>(cut)];
        const int64_t last = sum(cut, end);
        const int64_t spread =
            std::max({before.spread, before.largest - last, last - before.smallest});
        if (spread > chosen.spread) continue;  // of equal ones the latest cut
        chosen = {.spread = spread,
                  .largest = before.largest,
                  .smallest = before.smallest,
                  .last_cut = cut};
        // The last segment is named as one end of the spread when it defines it.
        if (spread == before.largest - last) {
          chosen.smallest = last;
        } else if (spread == last - before.smallest) {
          chosen.largest = last;
        }
      }
    }
  }

  std::vector<int> cuts(static_cast<std::size_t>(limits.n_segments) + 1, 0);
  cuts.back() = n;
  for (std::size_t level = best.size() - 1; level > 0; --level) {
    cuts[level] = best[level][static_cast<std::size_t>(cuts[level + 1])].last_cut;
  }
  return cuts;
}

std::vector<IndexRange> min_abs_diff_partition(std::span<const int64_t> values,
                                               const SegmentLimits& limits) {
  const auto refuse = [&](const std::string& got) {
    throw CallError("partition: cannot cut into segments",
                    {.expected = concat(limits.n_segments, " segments of ", limits.min_size,
                                        " or more of ", values.size(), " values"),
                     .got = got,
                     .advice = "fewer segments (pipeline stages), or more values (layers)"});
  };
  if (limits.n_segments < 1 || limits.min_size < 1) refuse("a limit below 1");
  const int64_t needed = int64_t{limits.n_segments} * limits.min_size;
  if (static_cast<int64_t>(values.size()) < needed) refuse(concat(needed, " values needed"));
  const std::vector<int> cuts = partition_balanced(values, limits);
  std::vector<IndexRange> ranges;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    ranges.push_back({cuts[i], cuts[i + 1]});
    if (cuts[i + 1] - cuts[i] < limits.min_size) refuse("no such partition found");
  }
  return ranges;
}

namespace {

/// Indices by descending value; equal ones in descending order of index.
std::vector<int> descending(std::span<const int64_t> values) {
  std::vector<int> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return values[static_cast<std::size_t>(a)] < values[static_cast<std::size_t>(b)];
  });
  std::reverse(order.begin(), order.end());
  return order;
}

}  // namespace

BalancedBatches reorder_to_balanced_batches(std::span<const int64_t> lengths, int n_per_batch) {
  if (n_per_batch < 1) {
    throw CallError(
        "balanced batches: no room in a batch",
        {.expected = "at least 1 sequence a batch", .got = concat(n_per_batch), .advice = {}});
  }
  BalancedBatches result;
  if (lengths.empty()) return result;
  const auto room = static_cast<std::size_t>(n_per_batch);
  std::vector<std::vector<int>> batches((lengths.size() + room - 1) / room);
  std::vector<int64_t> sums(batches.size(), 0);
  for (const int index : descending(lengths)) {
    std::size_t lightest = batches.size();
    for (std::size_t b = 0; b < batches.size(); ++b) {
      if (batches[b].size() == room) continue;
      if (lightest == batches.size() || sums[b] < sums[lightest]) lightest = b;
    }
    batches[lightest].push_back(index);
    sums[lightest] += lengths[static_cast<std::size_t>(index)];
  }
  const auto [smallest, largest] = std::minmax_element(sums.begin(), sums.end());
  result.max_diff = *largest - *smallest;
  result.order.reserve(lengths.size());
  for (const int batch : descending(sums)) {
    const std::vector<int>& members = batches[static_cast<std::size_t>(batch)];
    result.order.insert(result.order.end(), members.begin(), members.end());
  }
  return result;
}

const KeyMetadata& largest_key(const BatchMetadata& batch) {
  if (batch.keys.empty()) {
    throw CallError(
        "split: the batch has no key",
        {.expected = "at least one key to count tokens in", .got = "none", .advice = {}});
  }
  const KeyMetadata* largest = nullptr;
  int64_t most = -1;
  for (const KeyMetadata& key : batch.keys) {
    const int64_t total = key.lengths.grand_total();
    if (total > most) {
      most = total;
      largest = &key;
    }
  }
  return *largest;
}

namespace {

std::vector<int64_t> totals(const NestedLengths& lengths) {
  std::vector<int64_t> result(lengths.size());
  for (std::size_t i = 0; i < lengths.size(); ++i) result[i] = lengths.total(i);
  return result;
}

DispatchSplit split_over_ranks(const std::vector<int64_t>& weights,
                               const std::vector<int64_t>& tokens, int n_data_ranks) {
  DispatchSplit split;
  split.groups = in_sorted_form(
      ffd_allocate(weights, {.capacity = kNoCapacity, .min_groups = n_data_ranks}).groups);
  if (split.groups.size() != static_cast<std::size_t>(n_data_ranks)) {
    throw CallError("dispatch: more parts than data ranks",
                    {.expected = concat(n_data_ranks, " parts"),
                     .got = concat(split.groups.size()),
                     .advice = concat("a part holds at most ", kNoCapacity, " tokens")});
  }
  for (const std::vector<int>& group : split.groups) {
    int64_t sum = 0;
    for (const int index : group) sum += tokens[static_cast<std::size_t>(index)];
    split.tokens.push_back(sum);
  }
  return split;
}

}  // namespace

DispatchSplit split_generation(const BatchMetadata& batch, int n_data_ranks) {
  const KeyMetadata& key = largest_key(batch);
  const std::vector<int64_t> equal(batch.size(), 1);
  DispatchSplit split = split_over_ranks(equal, totals(key.lengths), n_data_ranks);
  split.split_key = key.key;
  return split;
}

DispatchSplit split_by_tokens(const BatchMetadata& batch, int n_data_ranks) {
  const KeyMetadata& key = largest_key(batch);
  const std::vector<int64_t> tokens = totals(key.lengths);
  DispatchSplit split = split_over_ranks(tokens, tokens, n_data_ranks);
  split.split_key = key.key;
  return split;
}

TokenSplit plan_token_split(std::span<const int64_t> weights, const TokenBudget& budget) {
  TokenSplit split;
  split.parts = in_sorted_form(
      ffd_allocate(weights, {.capacity = budget.max_tokens, .min_groups = budget.min_parts})
          .groups);
  split.forward.reserve(weights.size());
  for (const std::vector<int>& part : split.parts) {
    split.forward.insert(split.forward.end(), part.begin(), part.end());
  }
  split.backward.resize(weights.size());
  for (std::size_t place = 0; place < split.forward.size(); ++place) {
    split.backward[static_cast<std::size_t>(split.forward[place])] = static_cast<int>(place);
  }
  return split;
}

TokenSplit plan_token_split(const BatchMetadata& batch, const TokenBudget& budget) {
  const KeyMetadata& key = largest_key(batch);
  TokenSplit split = plan_token_split(totals(key.lengths), budget);
  split.split_key = key.key;
  return split;
}

}  // namespace orrery::data
