// -r A: the policy gradient corrected for the policy that generated, without a bound.
#include <ATen/ATen.h>

#include "orrery/algorithm/surrogate.h"

namespace orrery::algorithm {

Surrogate importance_sampling(const SurrogateInput& input) {
  return {.loss = -input.advantages * input.ratio,
          .clipped_low = {},
          .clipped_high = {},
          .clipped_dual = {}};
}

}  // namespace orrery::algorithm
