#include "finite_weights.h"

#include <ATen/ops/aminmax.h>

#include <cmath>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::model {

void check_finite_weights(const std::filesystem::path& directory, const std::string& name,
                          const at::Tensor& weights) {
  if (weights.numel() == 0) return;
  const auto [low, high] = at::aminmax(weights);  // NaN where there is one
  const double smallest = low.item<double>();
  const double largest = high.item<double>();
  if (std::isfinite(smallest) && std::isfinite(largest)) return;
  throw CheckpointError(
      base::concat(directory.string(), ": the weights of ", name, " are not finite"),
      {.expected = base::concat("finite numbers in ", at::toString(weights.scalar_type())),
       .got = base::concat(smallest, " to ", largest),
       .advice = "use files whose weights are whole; a model that trained to NaN is lost"});
}

}  // namespace orrery::model
