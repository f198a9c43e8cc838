// How samples are spread over data ranks and micro-batches, and layers over pipeline stages.
// Pure functions with one answer: equal weights keep their original order, so the plan is the same
// on every machine. All local.
//
// First fit, decreasing, the fewest members first (ffd_allocate): the heaviest item first; a new
// group while there are fewer than wanted, or when the item fits nowhere; otherwise, of the groups
// it fits into, the one with the fewest members, then the smallest sum, then the lowest number.
// O(n log n) for n items: see ffd.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "orrery/data/batch_metadata.h"

namespace orrery::data {

/// More than any sum of tokens: groups without a limit.
inline constexpr int64_t kNoCapacity = 1'000'000'000'000;

struct FfdLimits {
  int64_t capacity = kNoCapacity;  // largest sum of a group
  int min_groups = 1;
};

struct FfdResult {
  std::vector<std::vector<int>> groups;  // in order of creation, members in order of insertion
  std::vector<int64_t> sums;             // of each group
};

/// Throws CallError when a value is negative or over the capacity, when there are fewer values than
/// min_groups, or when min_groups is 0 and there are values.
FfdResult ffd_allocate(std::span<const int64_t> values, const FfdLimits& limits);

/// Each group ascending, then the groups by their first member.
std::vector<std::vector<int>> in_sorted_form(std::vector<std::vector<int>> groups);

struct SegmentLimits {
  int n_segments = 1;
  int min_size = 1;  // of each segment
};

/// n_segments + 1 cut points of consecutive segments whose sums differ little. A dynamic programme
/// that keeps one (largest, smallest) pair for each prefix, so not always the best; of equally good
/// cuts it takes the latest. Without a feasible partition the cuts mean nothing.
/// O(n_segments * n * n).
std::vector<int> partition_balanced(std::span<const int64_t> values, const SegmentLimits& limits);

/// The same as ranges. Throws CallError when there are too few values for the segments.
std::vector<IndexRange> min_abs_diff_partition(std::span<const int64_t> values,
                                               const SegmentLimits& limits);

struct BalancedBatches {
  std::vector<int> order;  // indices, batch by batch, the heaviest batch first
  int64_t max_diff = 0;    // between the sums of any two batches
};

/// Longest first into the lightest batch that has room for one more; ties in descending order of
/// index. n_per_batch >= 1.
BalancedBatches reorder_to_balanced_batches(std::span<const int64_t> lengths, int n_per_batch);

/// The split of a batch over the data ranks of a call.
struct DispatchSplit {
  std::vector<std::vector<int>> groups;  // [data rank]: ascending indices into the batch, >= 1 each
  std::vector<int64_t> tokens;           // [data rank]: total length in split_key
  std::string split_key;                 // key with the largest grand total, the first on a tie
};

/// Generation: each rank the same number of samples, one more for the first ranks; rank r gets
/// samples r, r + n, r + 2n, ... Throws CallError when there are fewer samples than ranks.
DispatchSplit split_generation(const BatchMetadata& batch, int n_data_ranks);

/// Everything else: a sample weighs its total length in split_key; no rank stays empty.
/// Throws CallError when there are fewer samples than ranks.
DispatchSplit split_by_tokens(const BatchMetadata& batch, int n_data_ranks);

/// Key with the largest grand total of lengths, the first one on a tie.
/// Throws CallError when the batch has no key.
const KeyMetadata& largest_key(const BatchMetadata& batch);

struct TokenBudget {
  int min_parts = 1;                 // at least that many micro-batches
  int64_t max_tokens = kNoCapacity;  // of each micro-batch, counted in the largest key
};

/// Micro-batches of a batch: parts[i] are ascending indices into it.
struct TokenSplit {
  std::vector<std::vector<int>> parts;
  std::vector<int> forward;   // all parts one behind another: place after the split -> index before
  std::vector<int> backward;  // index before -> place after
  std::string split_key;      // empty when the weights were given
};

/// Throws CallError when a sample alone is over the limit or there are fewer samples than parts.
TokenSplit plan_token_split(const BatchMetadata& batch, const TokenBudget& budget);
TokenSplit plan_token_split(std::span<const int64_t> weights, const TokenBudget& budget);

}  // namespace orrery::data
