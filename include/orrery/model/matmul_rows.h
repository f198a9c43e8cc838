// How many rows the matmuls of generation have on a GPU, whose library chooses by their number how
// it sums: the same number whatever the pass, so that what a row gives does not change with who
// else is decoded. Pure.
#pragma once

#include <cstdint>

namespace orrery::model {

/// 0: all rows of a pass, as on CPUs, whose matmuls sum in one order (generator.h).
struct MatmulRows {
  int64_t of_steps = 0;  // also of the logits, and of an answer that is read again
  int64_t of_prompts = 0;

  /// Those of steps follow from max_batch: all of it in one matmul, or in equal parts. As many at
  /// most as an H200 multiplies (989 TFLOP/s of bf16) while it reads the weights (4.8 TB/s), so
  /// that parts take no longer than the whole.
  static constexpr MatmulRows on_gpu(int64_t max_batch) {
    constexpr int64_t kMost = 256;
    const int64_t n_parts = (max_batch + kMost - 1) / kMost;
    return {.of_steps = (max_batch + n_parts - 1) / n_parts, .of_prompts = kMost};
  }

  /// Rows of a step of so many sequences; those beyond them are nobody's.
  constexpr int64_t filled_up(int64_t n) const {
    return of_steps == 0 ? n : (n + of_steps - 1) / of_steps * of_steps;
  }
};

}  // namespace orrery::model
