// How much generating a call may ask for at most, from the configuration alone.
#pragma once

#include <cstdint>
#include <optional>

#include "job.h"

namespace orrery::cli {

/// The quotient of two positive numbers, rounded up.
constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// One generation as a data rank may meet it.
struct GenerationLoad {
  int64_t n_prompts = 0;
  int64_t group_size = 1;
  int64_t max_batch = 256;       ///< sequences that are decoded at once
  int64_t max_cache_tokens = 0;  ///< 0: as many as they could need
  int64_t max_prompt_tokens = 0;
  int64_t max_new_tokens = 0;

  /// The same with one prompt and one answer.
  GenerationLoad of_one_sequence() const;
};

/// Of a generate call; nothing for another one.
std::optional<GenerationLoad> generation_load_of(const Job& job, const graph::Call& call);

/// The longest of all generate calls of the job, the largest group among them; without any, the
/// longest records that the training data may have.
GenerationLoad longest_load_of(const Job& job);

/// Pages of keys and values that a load takes at most, of a model of so many positions.
int64_t page_count(int64_t max_positions, const GenerationLoad& load);

/// Numbers in the pages of keys and values that a load takes at most. Members of a group share the
/// pages of their prompt and have the last, half full one and those of their answers for
/// themselves; beyond the prompts that are decoded as many may wait.
int64_t page_numbers(const model::Architecture& architecture, const GenerationLoad& load);

}  // namespace orrery::cli
