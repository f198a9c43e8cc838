// Soft adaptive policy optimisation (arXiv 2511.20347): a sigmoid around ratio 1 in place of the
// clip, steeper for negative advantages.
#include <ATen/ATen.h>

#include "orrery/algorithm/surrogate.h"

namespace orrery::algorithm {

Surrogate sapo(const SurrogateInput& input, const SurrogateOptions& options) {
  const auto number = [&](double value) {
    return at::scalar_tensor(value, input.ratio.options().requires_grad(false));
  };
  const at::Tensor tau = at::where(input.advantages.gt(0), number(*options.tau_positive),
                                   number(*options.tau_negative));
  const at::Tensor gate = at::sigmoid(tau * (input.ratio - 1));
  return {.loss = -(4 / tau * input.advantages) * gate,
          .clipped_low = {},
          .clipped_high = {},
          .clipped_dual = {}};
}

}  // namespace orrery::algorithm
