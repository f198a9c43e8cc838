// First fit, decreasing, the fewest members first.
//
// Items come heaviest first, so the room that an item needs only shrinks: the largest sum that a
// group may have to take it, limit = capacity - value, never falls from one item to the next. A
// group is therefore *open* (sum <= limit) until it takes an item, and once it is *full* it waits
// for the limit to reach its sum. Two heaps hold them: open groups by (members, sum, number), whose
// top is the answer; full groups by sum, of which the reached ones move over before each item.
// Every item moves one group at most twice: O(n log groups) after the sort.
#include <algorithm>  // push_heap, sort
#include <tuple>
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"  // CallError
#include "orrery/base/text.h"   // concat
#include "orrery/data/partition.h"

namespace orrery::data {

namespace {

using base::concat;

struct Group {
  int64_t members;
  int64_t sum;
  int number;
};

// Comparisons for std heaps, whose top is the "largest": the other way round.
bool is_worse_open(const Group& a, const Group& b) {
  return std::tie(a.members, a.sum, a.number) > std::tie(b.members, b.sum, b.number);
}
bool is_worse_full(const Group& a, const Group& b) { return a.sum > b.sum; }

class Groups {
 public:
  /// Full groups that an item may now join become open. `limit` never falls.
  void raise_limit(int64_t limit) {
    while (!full_.empty() && full_.front().sum <= limit) {
      std::pop_heap(full_.begin(), full_.end(), is_worse_full);
      open_.push_back(full_.back());
      full_.pop_back();
      std::push_heap(open_.begin(), open_.end(), is_worse_open);
    }
  }

  bool has_open() const { return !open_.empty(); }
  const Group& best_open() const { return open_.front(); }

  /// A group that just took an item: it waits among the full ones until the next limit is known.
  void add_new(const Group& group) {
    full_.push_back(group);
    std::push_heap(full_.begin(), full_.end(), is_worse_full);
  }

  void give_to_best(int64_t value, int64_t limit) {
    std::pop_heap(open_.begin(), open_.end(), is_worse_open);
    Group& group = open_.back();
    ++group.members;
    group.sum += value;
    if (group.sum <= limit) {  // still open for any later item
      std::push_heap(open_.begin(), open_.end(), is_worse_open);
      return;
    }
    const Group moved = group;
    open_.pop_back();
    add_new(moved);
  }

 private:
  std::vector<Group> open_;  // heap by (members, sum, number)
  std::vector<Group> full_;  // heap by sum
};

void check(std::span<const int64_t> values, const FfdLimits& limits) {
  if (limits.min_groups < 0 || (limits.min_groups == 0 && !values.empty())) {
    throw CallError(
        "partition: no group to fill",
        {.expected = "at least 1 group", .got = concat(limits.min_groups), .advice = {}});
  }
  if (values.size() < static_cast<std::size_t>(limits.min_groups)) {
    throw CallError("partition: too few samples",
                    {.expected = concat("at least ", limits.min_groups, ", one for each part"),
                     .got = concat(values.size()),
                     .advice = "raise n_seqs, or lower the data degree or the micro-batches"});
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i] < 0 || values[i] > limits.capacity) {
      throw CallError(concat("partition: sample ", i, " does not fit into any part"),
                      {.expected = concat("0 to ", base::counted(limits.capacity, "token")),
                       .got = concat(values[i]),
                       .advice = "raise max_tokens_per_micro_batch, or limit the lengths"});
    }
  }
}

/// Indices, heaviest first, equal ones in their order.
std::vector<std::pair<int64_t, int>> heaviest_first(std::span<const int64_t> values) {
  std::vector<std::pair<int64_t, int>> items(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) items[i] = {-values[i], static_cast<int>(i)};
  // Equal weights come in order of index already: nothing to do for generation.
  if (!std::is_sorted(items.begin(), items.end())) std::sort(items.begin(), items.end());
  return items;
}

}  // namespace

FfdResult ffd_allocate(std::span<const int64_t> values, const FfdLimits& limits) {
  check(values, limits);
  const auto min_groups = static_cast<std::size_t>(limits.min_groups);
  FfdResult result;
  result.groups.reserve(min_groups);
  result.sums.reserve(min_groups);
  // Room for a fair share, but not for all: with a tight capacity most groups stay small.
  const std::size_t expected_members =
      std::min<std::size_t>(values.size() / std::max<std::size_t>(min_groups, 1) + 1, 64);
  Groups groups;
  for (const auto& [negative, index] : heaviest_first(values)) {
    const int64_t value = -negative;
    const int64_t limit = limits.capacity - value;
    groups.raise_limit(limit);
    if (result.groups.size() < min_groups || !groups.has_open()) {
      groups.add_new(
          {.members = 1, .sum = value, .number = static_cast<int>(result.groups.size())});
      result.groups.emplace_back().reserve(expected_members);
      result.groups.back().push_back(index);
      result.sums.push_back(value);
      continue;
    }
    const auto number = static_cast<std::size_t>(groups.best_open().number);
    groups.give_to_best(value, limit);
    result.groups[number].push_back(index);
    result.sums[number] += value;
  }
  return result;
}

std::vector<std::vector<int>> in_sorted_form(std::vector<std::vector<int>> groups) {
  for (std::vector<int>& group : groups) std::sort(group.begin(), group.end());
  // Groups share no member: the first ones decide.
  std::sort(groups.begin(), groups.end());
  return groups;
}

}  // namespace orrery::data
