// How samples are spread over data ranks (master/dispatch.h: split_batch) and micro-batches.
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
#include <vector>

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

struct TokenBudget {
  int min_parts = 1;                 // at least that many micro-batches
  int64_t max_tokens = kNoCapacity;  // of each micro-batch
};

/// Micro-batches: ascending indices into `weights`, the micro-batches by their first member.
/// Throws CallError when a sample alone is over the limit or there are fewer samples than parts.
std::vector<std::vector<int>> plan_token_split(std::span<const int64_t> weights,
                                               const TokenBudget& budget);

}  // namespace orrery::data
