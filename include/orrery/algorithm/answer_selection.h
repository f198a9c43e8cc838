// Which of a prompt's answers are learned from. Pure. Shape letter: N sequences; `group_sizes` says
// how many consecutive ones belong to one prompt.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace orrery::algorithm {

struct SelectionOptions {
  bool skip_uniform_groups =
      false;            ///< groups in which all scores are equal (Yu et al. 2025, DAPO)
  int64_t best_of = 0;  ///< so many of each group with the highest scores; 0: all
};

/// scores [N], kept [N] bool -> [N] bool. An answer that is not kept is never selected and no
/// member of its group; its score may be NaN. Of equal scores the first ones are the best. A group
/// of one answer is not called uniform.
at::Tensor selected_answers(const at::Tensor& scores, const std::vector<int32_t>& group_sizes,
                            const at::Tensor& kept, const SelectionOptions& options);

}  // namespace orrery::algorithm
