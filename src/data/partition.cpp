#include "orrery/data/partition.h"

namespace orrery::data {

std::vector<std::vector<int>> plan_token_split(std::span<const int64_t> weights,
                                               const TokenBudget& budget) {
  return in_sorted_form(
      ffd_allocate(weights, {.capacity = budget.max_tokens, .min_groups = budget.min_parts})
          .groups);
}

}  // namespace orrery::data
