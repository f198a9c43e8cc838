// The score function (Williams 1992): -A log_prob, without a ratio.
#include <ATen/ATen.h>

#include "orrery/algorithm/surrogate.h"

namespace orrery::algorithm {

Surrogate reinforce(const SurrogateInput& input) {
  return {.loss = -input.advantages * at::where(input.mask, input.log_probs, 0.0),
          .clipped_low = {},
          .clipped_high = {},
          .clipped_dual = {}};
}

}  // namespace orrery::algorithm
